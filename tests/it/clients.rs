//! Clients: who gets which identity, rotation of tokens, and reloads.

use std::fs;

use testkit::harness::{Broker, HUSH, Home, Response, profile, until};

fn token(client: &str) -> String {
    format!("{HUSH}-token-of-at-least-32-characters-{client}")
}

/// Three identities with keys of their own.
fn identities() -> String {
    let identity = |name: &str| {
        format!(
            "[identities.{name}]\nsources = [{{ access_key_id = \"AKIA{name}\", secret_access_key = \"{HUSH}-{name}\" }}]\n"
        )
    };
    ["default", "web", "team-a"].map(identity).concat()
}

/// Returns the key, or the status and the code of the error.
fn outcome(response: &Response) -> String {
    response.key().unwrap_or_else(|| format!("{} {}", response.status, response.code()))
}

fn ask(broker: &Broker, path: &str, client: &str) -> String {
    outcome(&broker.get_with(path, &token(client)))
}

#[test]
fn each_client_gets_its_identities_and_no_other() {
    let home = Home::new();
    home.write("web", token("web"));
    home.write("many", format!("\n  {}\n\n", token("many")));
    let broker = home.serve_config(
        format!(
            "[clients.web]\ntoken_file = \"web\"\nidentities = [\"web\"]\n\
             [clients.many]\ntoken_files = [\"many\"]\nidentities = [\"web\", \"team-*\"]\n\
             [clients.all]\ntoken = \"{}\"\nidentities = [\"*\"]\n{}",
            token("all"),
            identities()
        ),
        &[],
    );
    until("all identities are loaded", || broker.get_with("/readyz", "").status == 200);
    let (denied, unknown) = ("403 IdentityNotAllowed", "404 IdentityNotFound");
    for (path, web, many, all) in [
        ("/credentials", "AKIAweb", denied, "AKIAdefault"),
        ("/v2/credentials", "AKIAweb", denied, "AKIAdefault"),
        ("/credentials/default", denied, denied, "AKIAdefault"),
        ("/credentials/web", "AKIAweb", "AKIAweb", "AKIAweb"),
        ("/credentials/%77eb", "AKIAweb", "AKIAweb", "AKIAweb"),
        ("/credentials/team-a", denied, "AKIAteam-a", "AKIAteam-a"),
        ("/v2/credentials/team-a", denied, "AKIAteam-a", "AKIAteam-a"),
        // A client does not learn which other identities exist.
        ("/credentials/nothing", denied, denied, unknown),
        ("/credentials/team-nothing", denied, unknown, unknown),
    ] {
        for (client, expected) in [("web", web), ("many", many), ("all", all)] {
            assert_eq!(ask(&broker, path, client), expected, "{client} {path}");
        }
        for stranger in [String::new(), token("stranger"), token("we")] {
            assert_eq!(broker.get_with(path, &stranger).status, 401, "{path}");
        }
    }
    assert!(!home.path().join("run/token").exists(), "there is no auth token beside clients");
    for (client, names) in [("web", &["web"][..]), ("many", &["team-a", "web"]), ("all", &["default", "team-a", "web"])]
    {
        let status = broker.get_with("/status", &token(client)).json();
        let shown: Vec<_> = status["identities"].as_object().unwrap().keys().collect();
        assert_eq!(shown, names, "{client}");
        let status = status.to_string();
        assert!(!status.contains("many") && !status.contains(HUSH), "{status}");
    }
}

#[test]
fn readiness_of_a_client_is_that_of_its_identities() {
    let home = Home::new();
    let broker = home.serve_config(
        format!(
            "[clients.web]\ntoken = \"{}\"\nidentities = [\"web\"]\n[clients.bad]\ntoken = \"{}\"\nidentities = [\"bad\"]\n\
             [identities.bad]\nsources = [{{ profile = \"none\" }}]\n{}",
            token("web"),
            token("bad"),
            identities()
        ),
        &[],
    );
    until("web is ready", || broker.get_with("/readyz", &token("web")).status == 200);
    let bad = broker.get_with("/readyz", &token("bad"));
    assert_eq!((bad.status, bad.json()["identities"].to_string()), (503, "[\"bad\"]".to_owned()));
    let anyone = broker.get_with("/readyz", "");
    assert_eq!((anyone.status, anyone.json().get("identities").is_some_and(serde_json::Value::is_array)), (503, false));
}

#[test]
fn old_token_is_accepted_for_the_overlap() {
    let home = Home::new();
    home.write("web", token("first"));
    let broker = home.serve_config(
        format!(
            "[server]\ntoken_overlap = \"5s\"\n[clients.web]\ntoken_file = \"web\"\nidentities = [\"web\"]\n{}",
            identities()
        ),
        &[],
    );
    let opens = |name: &str| broker.get_with("/credentials", &token(name)).status == 200;
    until("the first token opens", || opens("first"));
    assert!(!opens("second"));
    home.write("web.new", token("second"));
    fs::rename(home.path().join("web.new"), home.path().join("web")).unwrap();
    until("the second token opens", || opens("second"));
    assert!(opens("first"), "the overlap has just begun");
    until("the overlap ends", || !opens("first"));
    assert!(opens("second"));
    fs::write(home.path().join("web"), "").unwrap();
    until("an empty file opens nothing", || !opens("second"));
    assert!(broker.log().contains("it gives no token: it is empty"), "{}", broker.log());
    assert_eq!(broker.get_with("/credentials", "").status, 401);
    home.write("web", token("third"));
    until("the file has a token again", || opens("third"));
}

#[test]
fn missing_and_foreign_token_files_open_nothing() {
    let home = Home::new();
    home.write("open", token("open"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(home.path().join("open"), mode).unwrap();
    let mut broker = home.serve_config(
        format!(
            "[clients.open]\ntoken_file = \"open\"\nidentities = [\"*\"]\n[clients.gone]\ntoken_file = \"gone\"\nidentities = [\"*\"]\n{}",
            identities()
        ),
        &[],
    );
    broker.wait_for_log("may be written by all users");
    broker.wait_for_log("gone");
    assert_eq!(ask(&broker, "/credentials", "open"), "401 InvalidAuthorizationToken");
    home.write("gone", token("gone"));
    until("the file has appeared", || broker.get_with("/credentials", &token("gone")).status == 200);
}

/// A rotation may write the new token to each file in turn.
#[test]
fn token_in_two_files_of_one_client_opens() {
    let home = Home::new();
    home.write("one", token("same"));
    home.write("two", token("same"));
    let config = format!("[clients.web]\ntoken_files = [\"one\", \"two\"]\nidentities = [\"web\"]\n{}", identities());
    let broker = home.serve_config(config, &[]);
    until("the token opens", || broker.get_with("/credentials", &token("same")).status == 200);
    home.write("two", token("other"));
    until("the other token opens", || broker.get_with("/credentials", &token("other")).status == 200);
    assert_eq!(ask(&broker, "/credentials", "same"), "AKIAweb", "it is in the first file");
}

#[test]
fn clients_change_without_a_restart() {
    let home = Home::new();
    let config = |clients: &[&str]| {
        let client = |name: &&str| format!("[clients.{name}]\ntoken = \"{}\"\nidentities = [\"web\"]\n", token(name));
        format!("[clients]\n{}{}", clients.iter().map(client).collect::<String>(), identities())
    };
    let mut broker = home.serve_config(config(&["a", "b"]), &[]);
    let opens = |broker: &Broker, name: &str| broker.get_with("/credentials/web", &token(name)).status == 200;
    until("both open", || opens(&broker, "a") && opens(&broker, "b"));
    home.write("credenza.toml", config(&["b", "c"]));
    until("the new client opens", || opens(&broker, "c"));
    assert_eq!(ask(&broker, "/credentials/web", "a"), "401 InvalidAuthorizationToken");
    assert!(opens(&broker, "b"));
    home.write("credenza.toml", config(&["c"]).replace("[clients]", "[clients.twin]\nusers = [1]\nidentities = []"));
    broker.wait_for_log("the earlier one stays in use");
    assert!(opens(&broker, "b") && opens(&broker, "c"));
    home.write("credenza.toml", config(&[]));
    until("nobody opens", || !opens(&broker, "b") && !opens(&broker, "c"));
    // Without the table the auth token opens everything again.
    home.write("credenza.toml", identities());
    until("the auth token opens", || {
        home.path().join("run/token").exists() && broker.get("/credentials/web").status == 200
    });
}

#[test]
fn error_about_users_names_file_and_line() {
    let home = Home::new();
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    for (users, listen) in
        [("\"no-such-user\"", ""), (overflow.trim(), ""), ("7", "listen = [\"192.0.2.1:1\"]\nallow_remote = true\n")]
    {
        let text = format!("[server]\n{listen}[clients.web]\nusers = [{users}]\nidentities = [\"*\"]\n");
        let line = text.lines().position(|line| line.starts_with("users")).unwrap() + 1;
        home.write("credenza.toml", text);
        let checked = home.run(&["check", "--config", "credenza.toml"], &[]);
        let expected = format!("credenza.toml, line {line}: clients.web.users: ");
        assert!(checked.code == Some(78) && checked.stderr.contains(&expected), "{users}: {checked:?}");
    }
}

#[test]
fn check_shows_served_profiles_of_each_client() {
    let home = Home::new();
    home.write(".aws/credentials", ["team-a", "team-b", "own"].map(|name| profile(name, "AKIAP")).concat());
    let config = |identities: &str| {
        format!(
            "[profiles]\nserve = [\"team-*\"]\n[clients.agents]\ntoken = \"{}\"\nidentities = [\"{identities}\"]\n",
            token("agents")
        )
    };
    home.write("credenza.toml", config("*-a"));
    let shown = home.run(&["check", "--config", "credenza.toml"], &[]);
    for part in ["default  team-a  team-b\n", "agents     -      yes      -     by token\n"] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    home.write("credenza.toml", config("own"));
    let shown = home.run(&["check", "--config", "credenza.toml"], &[]);
    assert!(shown.stdout.contains("client agents: no identity and no served profile has a name"), "{}", shown.stdout);
}

#[test]
fn clients_that_cannot_be_told_apart_are_a_bad_configuration() {
    let home = Home::new();
    home.write("one", token("same"));
    home.write("two", token("same"));
    let client = |name: &str, rest: &str| format!("[clients.{name}]\n{rest}\nidentities = [\"*\"]\n");
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    for (text, expected) in [
        (
            client("a", "token_file = \"one\"") + &client("b", "token_file = \"two\""),
            "clients a and b have the same token",
        ),
        (client("a", "users = [7]") + &client("b", "users = [8, 7]"), "user 7 alone is client a as well"),
        (client("a", &format!("users = [{}]", overflow.trim())), "stands for every user"),
        (client("a", "users = [\"no-such-user\"]"), "there is no user"),
        (
            client("a", "users = [7]") + "[server]\nlisten = [\"0.0.0.0:0\"]\nallow_remote = true\n",
            "other hosts can reach 0.0.0.0:0",
        ),
    ] {
        home.write("credenza.toml", format!("{text}{}", identities()));
        let output = home.run(&["serve", "--config", "credenza.toml"], &[("CREDENZA_LISTEN", "")]);
        let shown = format!("{}{}", output.stdout, output.stderr);
        assert!(output.code == Some(78) && shown.contains(expected), "{text}: {:?} {shown}", output.code);
        assert!(!shown.contains(HUSH), "{shown}");
    }
}

#[test]
fn user_of_the_connection_proves_a_client() {
    let home = Home::new();
    let ours = rustix::process::geteuid().as_raw();
    let config = |user: u32| {
        format!(
            "[clients.alone]\nusers = [{user}]\nidentities = [\"web\"]\n\
             [clients.both]\ntoken = \"{}\"\nusers = [{user}]\nidentities = [\"team-a\"]\n{}",
            token("both"),
            identities()
        )
    };
    let broker = home.serve_config(config(ours), &[]);
    until("all identities are loaded", || broker.get_with("/readyz", "").status == 200);
    let ask = |token: &str| outcome(&broker.get_with("/credentials", token));
    assert_eq!((ask("").as_str(), ask(&token("both")).as_str()), ("AKIAweb", "AKIAteam-a"));
    // A request with a token is judged by the token alone.
    assert_eq!(ask("wrong"), "401 InvalidAuthorizationToken");
    home.write("credenza.toml", config(ours + 1));
    until("the user is a client no more", || ask("") == "401 InvalidAuthorizationToken");
    assert_eq!(ask(&token("both")), "401 InvalidAuthorizationToken", "a right token of a wrong user");
}

#[test]
fn check_shows_clients_and_their_identities() {
    let home = Home::new();
    home.write("web", token("web"));
    let text = format!(
        "[clients.web]\ntoken_file = \"web\"\nidentities = [\"web\"]\n[clients.lost]\ntoken_file = \"lost\"\nidentities = [\"nothing\"]\n{}",
        identities()
    );
    home.write("credenza.toml", text);
    let output = home.run(&["check", "-v", "--config", "credenza.toml"], &[]);
    for expected in ["clients\n", "default  team-a  web", "by token", "client lost: no configured identity", "lost: "] {
        assert!(output.stdout.contains(expected), "{expected}: {}", output.stdout);
    }
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    home.write("lost", token("lost") + "\n");
    let output = home.run(&["check", "-v", "--config", "credenza.toml"], &[]);
    assert!(output.code == Some(0) && output.stdout.contains("lost: ends with a line break"), "{output:?}");
    assert_eq!(output.stdout.matches("line break").count(), 1);
    assert!(!output.stdout.contains(HUSH));
}

/// One edit gives an identity to another client, and another source to the identity. The client must not get the keys of the
/// earlier source while the new one loads.
#[test]
fn client_never_gets_the_keys_of_an_earlier_source() {
    let home = Home::new();
    let config = |names: &str, source: &str| {
        format!(
            "[clients.a]\ntoken = \"{}\"\nidentities = [{names}]\n{}[identities.team]\nsources = [{source}]\n",
            token("a"),
            identities()
        )
    };
    let keys = format!("{{ access_key_id = \"AKIAearlier\", secret_access_key = \"{HUSH}\" }}");
    let broker = home.serve_config(config("\"web\"", &keys), &[]);
    until("all identities are loaded", || broker.get_with("/readyz", "").status == 200);
    let document = format!("{{\"Version\":1,\"AccessKeyId\":\"AKIAnew\",\"SecretAccessKey\":\"{HUSH}\"}}");
    let slow = format!("{{ process = [\"sh\", \"-c\", 'sleep 2; echo \"$0\"', '{document}'] }}");
    home.write("credenza.toml", config("\"web\", \"team\"", &slow));
    until("the new source is used", || {
        let outcome = ask(&broker, "/credentials/team", "a");
        assert_ne!(outcome, "AKIAearlier");
        outcome == "AKIAnew"
    });
}

#[test]
fn status_of_a_client_names_no_other_client() {
    let home = Home::new();
    let config = format!(
        "[clients.web]\ntoken = \"{}\"\nidentities = [\"web\"]\n[clients.finance]\ntoken = \"{}\"\nidentities = [\"*\"]\n{}",
        token("web"),
        token("finance"),
        identities()
    );
    let broker = home.serve_config(&config, &[]);
    home.write("credenza.toml", config + "[clients.finance]\n");
    let refused = || broker.get_with("/status", &token("web")).json()["configuration_refused"].clone();
    until("the configuration is refused", || refused().is_string());
    assert!(!refused().to_string().contains("finance"), "{}", refused());
}

#[test]
fn token_in_a_folder_of_another_user_opens_nothing() {
    let home = Home::new();
    home.write("theirs/web", token("web"));
    if std::os::unix::fs::chown(home.path().join("theirs"), Some(65_533), None).is_err()
        && testkit::harness::skip("this user cannot give a folder to another one")
    {
        return;
    }
    let config = "[clients.web]\ntoken_file = \"theirs/web\"\nidentities = [\"web\"]\n".to_owned() + &identities();
    let broker = home.serve_config(config, &[]);
    assert_eq!(broker.get_with("/credentials", &token("web")).status, 401);
    assert!(broker.log().contains("belongs to user 65533"), "{}", broker.log());
}
