//! Records the credentials that the upstream gave, and judges the responses to the client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::model::time::timestamp;

/// The longest time from a good upstream response to the end of its load.
const JUDGEMENT: Duration = Duration::from_secs(5);

/// The time after which a working upstream must have led to a lease: the longest pause between two loads is 60 s, and
/// the load before it takes 10 s at most.
pub(crate) const RECOVERY: Duration = Duration::from_secs(80);

/// The longest time without a response: the daemon holds a request for 4.5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One set of credentials that the upstream made.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) number: usize,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) expiration: SystemTime,
    /// The upstream makes the next set this long before the expiration.
    pub(crate) margin: Duration,
    /// True if the upstream's clock was right when it made the set.
    pub(crate) timely: bool,
}

/// A good response of the upstream.
#[derive(Clone, Debug)]
struct Given {
    issue: Arc<Issue>,
    at: Instant,
    /// The remaining lifetime by the clock of the daemon.
    lifetime: Duration,
}

/// A response to the client.
#[derive(Debug)]
pub(crate) struct ClientResponse {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The last response that the daemon has judged, and the later ones.
    given: VecDeque<Given>,
    /// Since then the upstream gives credentials that are valid by the clock of the daemon.
    pub(crate) well_since: Option<Instant>,
    pub(crate) clocks_right: bool,
    /// The last key or status that the client got.
    pub(crate) last: String,
    pub(crate) served: u64,
    pub(crate) refused: u64,
    checked: Option<(Vec<u8>, Arc<Issue>)>,
}

impl Ledger {
    /// Records credentials that the upstream gave completely, if they are valid by the clock of the daemon.
    pub(crate) fn give(&mut self, issue: &Arc<Issue>, wall: SystemTime) {
        let Some(lifetime) = issue.expiration.duration_since(wall).ok().filter(|lifetime| !lifetime.is_zero()) else {
            return;
        };
        self.settle(Instant::now());
        // The daemon does not take an equal set again: if its lease has expired, this set has expired, too.
        if self.given.back().is_none_or(|last| last.issue.number != issue.number) {
            self.given.push_back(Given { issue: Arc::clone(issue), at: Instant::now(), lifetime });
        }
    }

    /// Returns true if the daemon may still be judging a good response.
    pub(crate) fn is_judging(&mut self) -> bool {
        self.settle(Instant::now());
        self.given.len() > 1 || self.given.front().is_some_and(|given| given.at.elapsed() < JUDGEMENT)
    }

    /// Returns true if the client must get credentials now.
    pub(crate) fn must_serve(&mut self, wall: SystemTime) -> bool {
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

    /// Judges a response that has come now. `had_to_serve` is [`Ledger::must_serve`] at the time of the request.
    pub(crate) fn judge(
        &mut self,
        response: &ClientResponse,
        sent: Instant,
        had_to_serve: bool,
        wall: SystemTime,
        issues: &[Arc<Issue>],
    ) -> Result<(), String> {
        let took = sent.elapsed();
        if took > LONGEST_WAIT {
            return Err(format!("the client waited {took:?}"));
        }
        let now = Instant::now();
        let well = self.well_since.is_some_and(|since| now - since >= RECOVERY);
        if response.status != 200 {
            self.refused += 1;
            let body = String::from_utf8_lossy(&response.body);
            return match (self.must_serve(wall), well) {
                (true, _) => Err(format!("refused although the lease has not expired: {} {body}", response.status)),
                (_, true) => Err(format!(
                    "refused although the upstream has worked for {RECOVERY:?}: {} {body}",
                    response.status
                )),
                _ => Ok(()),
            };
        }
        self.served += 1;
        let issue = self.identify(&response.body, issues)?;
        if issue.expiration <= wall {
            return Err(format!(
                "served credentials that expired at {}: it is {}",
                timestamp(issue.expiration),
                timestamp(wall)
            ));
        }
        if had_to_serve && !took.is_zero() {
            return Err(format!("the lease was good and the client waited {took:?}"));
        }
        self.settle(now);
        let Some(given) = self.given.iter().find(|given| given.issue.number == issue.number) else {
            return Err(format!("{} is not the last set that the upstream gave", issue.key));
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

    /// Returns the set in this body, if all its fields are of one set that the upstream made.
    fn identify(&mut self, body: &[u8], issues: &[Arc<Issue>]) -> Result<Arc<Issue>, String> {
        if let Some((before, issue)) = self.checked.as_ref().filter(|(before, _)| before == body) {
            debug_assert!(!before.is_empty());
            return Ok(Arc::clone(issue));
        }
        let document: serde_json::Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
        let found = issues.iter().find(|issue| document["AccessKeyId"] == *issue.key);
        let Some(issue) = found else { return Err(format!("unknown key {}", document["AccessKeyId"])) };
        for (field, expected) in
            [("SecretAccessKey", &issue.secret), ("Token", &issue.token), ("Expiration", &timestamp(issue.expiration))]
        {
            if document[field] != **expected {
                return Err(format!("the {field} is not that of {}", issue.key));
            }
        }
        self.checked = Some((body.to_vec(), Arc::clone(issue)));
        Ok(Arc::clone(issue))
    }
}
