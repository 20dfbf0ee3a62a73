//! Records the answers of the service, and judges the responses to the client by them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use credenza::clock::timestamp;
use tokio::time::Instant;

/// The time from a good answer to the end of its load.
const JUDGEMENT: Duration = Duration::from_secs(5);

/// After this time without a fault there must be credentials: the maximum pause between two loads is 60 s, and the
/// load before it may take 10.
pub const RECOVERY: Duration = Duration::from_secs(80);

/// The daemon answers a waiting client after 4.5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One set of credentials of the service.
#[derive(Debug)]
pub struct Issue {
    pub number: usize,
    pub key: String,
    pub secret: String,
    pub token: String,
    pub expiration: SystemTime,
    /// The service has the next set this long before the expiry.
    pub margin: Duration,
    /// True if the service's clock was right at the time of the issue.
    pub timely: bool,
}

/// A good answer of the service.
#[derive(Clone, Debug)]
struct Given {
    issue: Arc<Issue>,
    at: Instant,
    /// The remaining lifetime of the credentials by our clock.
    lifetime: Duration,
}

/// The response to the client.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// The last judged answer, and the later ones.
    given: VecDeque<Given>,
    /// The start of the fault-free time: the service gives credentials that are valid by our clock.
    pub well_since: Option<Instant>,
    pub clocks_right: bool,
    /// The last response to the client.
    pub last: String,
    pub served: u64,
    pub refused: u64,
    checked: Option<(Vec<u8>, Arc<Issue>)>,
}

impl Ledger {
    /// Records a complete and timely answer of the service; our clock decides if it is good.
    pub fn give(&mut self, issue: &Arc<Issue>, wall: SystemTime) {
        let Some(lifetime) = issue.expiration.duration_since(wall).ok().filter(|lifetime| !lifetime.is_zero()) else {
            return;
        };
        self.settle(Instant::now());
        // The same credentials are accepted again only if the lease has expired, and then these have expired as well.
        if self.given.back().is_none_or(|last| last.issue.number != issue.number) {
            self.given.push_back(Given { issue: Arc::clone(issue), at: Instant::now(), lifetime });
        }
    }

    /// Returns true while a good answer is being judged.
    pub fn is_judging(&mut self) -> bool {
        self.settle(Instant::now());
        self.given.len() > 1 || self.given.front().is_some_and(|given| given.at.elapsed() < JUDGEMENT)
    }

    /// Returns true if the client must get credentials now.
    pub fn must_serve(&mut self, wall: SystemTime) -> bool {
        let now = Instant::now();
        self.settle(now);
        let settled = self.given.front().is_some_and(|given| now - given.at >= JUDGEMENT);
        settled && self.given.iter().all(|given| given.issue.expiration > wall)
    }

    fn settle(&mut self, now: Instant) {
        while self.given.get(1).is_some_and(|next| now - next.at >= JUDGEMENT) {
            self.given.pop_front();
        }
    }

    /// Judges a response that has just arrived. `had_to` is [`Ledger::must_serve`] at the time of the request.
    pub fn judge(
        &mut self,
        answer: &Answer,
        asked: Instant,
        had_to: bool,
        wall: SystemTime,
        issues: &[Arc<Issue>],
    ) -> Result<(), String> {
        let took = asked.elapsed();
        if took > LONGEST_WAIT {
            return Err(format!("the client waited {took:?}"));
        }
        let now = Instant::now();
        let well = self.well_since.is_some_and(|since| now - since >= RECOVERY);
        if answer.status != 200 {
            self.refused += 1;
            let body = String::from_utf8_lossy(&answer.body);
            return match (self.must_serve(wall), well) {
                (true, _) => Err(format!("refused while a good answer has not ended: {} {body}", answer.status)),
                (_, true) => {
                    Err(format!("refused although all has been well for {RECOVERY:?}: {} {body}", answer.status))
                }
                _ => Ok(()),
            };
        }
        self.served += 1;
        let issue = self.identify(&answer.body, issues)?;
        if issue.expiration <= wall {
            return Err(format!("an answer that ended at {}: it is {}", timestamp(issue.expiration), timestamp(wall)));
        }
        if had_to && !took.is_zero() {
            return Err(format!("the lease was good and the client waited {took:?}"));
        }
        self.settle(now);
        let Some(given) = self.given.iter().find(|given| given.issue.number == issue.number) else {
            return Err(format!("{} is not what the upstream gave last", issue.key));
        };
        if well && self.clocks_right && issue.timely {
            let left = issue.expiration.duration_since(wall).unwrap_or_default();
            let enough = issue.margin.min(Duration::from_secs(20 * 60)).min(given.lifetime / 2);
            if left + RECOVERY < enough {
                return Err(format!(
                    "{} has {left:?} left and the upstream had the next {:?} before",
                    issue.key, issue.margin
                ));
            }
        }
        Ok(())
    }

    /// Returns the issue in this body: a complete set that the service has given.
    fn identify(&mut self, body: &[u8], issues: &[Arc<Issue>]) -> Result<Arc<Issue>, String> {
        if let Some((before, issue)) = self.checked.as_ref().filter(|(before, _)| before == body) {
            debug_assert!(!before.is_empty());
            return Ok(Arc::clone(issue));
        }
        let document: serde_json::Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
        let found = issues.iter().find(|issue| document["AccessKeyId"] == *issue.key);
        let Some(issue) = found else { return Err(format!("unknown key {}", document["AccessKeyId"])) };
        for (field, expected) in
            [("SecretAccessKey", &issue.secret), ("Token", &issue.token), ("Expiration", &timestamp(issue.expiration))]
        {
            if document[field] != **expected {
                return Err(format!("the {field} beside {} is not its own", issue.key));
            }
        }
        self.checked = Some((body.to_vec(), Arc::clone(issue)));
        Ok(Arc::clone(issue))
    }
}
