//! Clients with tokens of their own: what a thousand cost a request, the memory and the start, and what the user behind
//! a connection costs where a client has users.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::Setting;
use super::load::{CONNECTIONS, Measured, measure};
use super::memory::resident;
use super::start::to_first_answer;
use crate::load::{Load, request};
use crate::process::Process;
use crate::report::{MB, Row, Target, Unit};
use crate::scene::{Scene, TOKEN, client_token};
use crate::stats::{Pairs, in_turn};

/// The numbers of clients. Up to four tokens are compared one after another, more are found by digest.
const COUNTS: [usize; 3] = [1, 100, MANY];

const MANY: usize = 1000;

/// The connections of one turn. Their ports are free again at once, because they are reset.
const CONNECTS: u32 = 1000;

/// The requests of all clients in turn.
fn of_clients(count: usize, address: SocketAddr) -> Vec<Vec<u8>> {
    (0..count).map(|index| request("/credentials", address, &client_token(index))).collect()
}

/// Authorization, memory and start, with clients that are asked for in turn.
pub fn of_a_thousand(setting: &Setting) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let scene = || Scene::new(&setting.program)?.with_profiles(1);
    let (alone, keep) = {
        let scene = scene()?;
        (scene.serve(&[])?, scene)
    };
    for count in COUNTS {
        let scene = scene()?.with_clients(count, false)?;
        let clients = scene.serve(&[])?;
        // As many requests in memory, so that both turns find their caches alike.
        let one = vec![request("/credentials", alone.address, TOKEN); count];
        let mut ours = Load::new(clients.address, CONNECTIONS, of_clients(count, clients.address))?;
        let mut theirs = Load::new(alone.address, CONNECTIONS, one)?;
        measure(&clients, &mut ours, setting.turn / 4)?;
        measure(&alone, &mut theirs, setting.turn / 4)?;
        let turns = in_turn(
            setting.rounds,
            || measure(&clients, &mut ours, setting.turn),
            || measure(&alone, &mut theirs, setting.turn),
        )?;
        let what = match count {
            1 => "throughput with 1 client, beside the auth token alone".into(),
            MANY => "throughput with 1,000 clients, beside the same".into(),
            _ => format!("throughput with {count} clients, beside the same"),
        };
        let throughput = Pairs::of(&turns, Measured::throughput);
        rows.push(Row::pairs(what, Unit::Requests, throughput, Target::RatioAtLeast(0.95)));
    }
    drop((alone, keep));
    let all = |server: &Process| of_clients(MANY, server.address);
    let inline = resident(&scene()?.with_clients(MANY, false)?, &[], all)?;
    let files = resident(&scene()?.with_client_files(MANY)?, &[], all)?;
    let memory = |what, values, target| Row::alone(what, Unit::Megabytes, values, target);
    rows.push(memory("resident memory, 1 identity, 1,000 clients", inline, Target::AtMost(16.0 * MB)));
    rows.push(memory("the same with 1,000 token files", files, Target::Reported));
    let start = |scene: Scene| {
        let command = |address: SocketAddr| {
            let mut command: Command = scene.command(&["serve"]);
            command.env("CREDENZA_LISTEN", address.to_string());
            command
        };
        let one = || to_first_answer(command, &client_token(MANY - 1)).map(|took| took.as_secs_f64());
        (0..setting.rounds).map(|_| one()).collect::<io::Result<Vec<f64>>>()
    };
    let inline = start(scene()?.with_clients(MANY, false)?)?;
    let files = start(scene()?.with_client_files(MANY)?)?;
    let cold = |what, values, target| Row::alone(what, Unit::Milliseconds, values, target);
    rows.push(cold("cold start to first 200, 1,000 clients", inline, Target::AtMost(0.01)));
    rows.push(cold("the same with 1,000 token files", files, Target::Reported));
    Ok(rows)
}

/// The cost of one new connection.
struct Connected {
    took: f64,
    cpu: f64,
}

/// Opens connections one after another, each for one request.
fn connect(server: &Process, request: &[u8]) -> io::Result<Connected> {
    let (cpu, began) = (server.cpu()?, Instant::now());
    let mut answer = [0; 4096];
    for _ in 0..CONNECTS {
        let mut stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        stream.write_all(request)?;
        // The answer comes in one piece.
        let length = stream.read(&mut answer)?;
        if !answer[..length].starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer[..length]).into_owned()));
        }
    }
    let of_one = |all: Duration| all.as_secs_f64() / f64::from(CONNECTS);
    Ok(Connected { took: of_one(began.elapsed()), cpu: of_one(server.cpu()? - cpu) })
}

/// New connections to a broker that looks up their users, beside one that has no need to.
pub fn users_of_connections(setting: &Setting) -> io::Result<Vec<Row>> {
    let scene = || Scene::new(&setting.program)?.with_profiles(1);
    let (alone, by_token, by_user) = (scene()?, scene()?.with_clients(1, false)?, scene()?.with_clients(1, true)?);
    let servers = [alone.serve(&[])?, by_token.serve(&[])?, by_user.serve(&[])?];
    let [alone, by_token, by_user] = &servers;
    let owner = request("/credentials", alone.address, TOKEN);
    let ask = |server: &Process| connect(server, &request("/credentials", server.address, &client_token(0)));
    for warm in [connect(alone, &owner), ask(by_token), ask(by_user)] {
        warm?;
    }
    let rounds = setting.rounds * 2;
    let with_users = in_turn(rounds, || ask(by_user), || ask(by_token))?;
    let without = in_turn(rounds, || ask(by_token), || connect(alone, &owner))?;
    let added =
        |value: fn(&Connected) -> f64| with_users.iter().map(|(one, other)| value(one) - value(other)).collect();
    Ok(vec![
        Row::alone(
            "time that the look-up of its user adds to a new connection",
            Unit::Microseconds,
            added(|connected| connected.took),
            Target::AtMost(50e-6),
        ),
        Row::alone("CPU time of the same", Unit::Microseconds, added(|connected| connected.cpu), Target::AtMost(50e-6)),
        Row::pairs(
            "CPU time of a new connection, no client with users, beside the auth token alone",
            Unit::Microseconds,
            Pairs::of(&without, |connected| connected.cpu),
            Target::RatioAtMost(1.05),
        ),
    ])
}
