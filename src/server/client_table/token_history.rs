//! The tokens of one client over time: those of now, and old ones that are still accepted.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::secret::Secret;

#[derive(Clone, Debug)]
pub(crate) struct TokenHistory {
    current: Vec<Secret>,
    /// Replaced tokens, each with the moment from which it is refused.
    earlier: Vec<(Secret, Instant)>,
}

impl TokenHistory {
    pub(crate) fn new(current: Vec<Secret>) -> Self {
        Self { current, earlier: Vec::new() }
    }

    /// Replaces the tokens at `now`. Those that are missing from the new ones are accepted for `overlap`. Returns true
    /// if a token changed.
    pub(crate) fn update(&mut self, current: Vec<Secret>, now: Instant, overlap: Duration) -> bool {
        let before = std::mem::replace(&mut self.current, current);
        let is_changed = self.current.iter().any(|token| !before.contains(token));
        let gone: Vec<_> = before.into_iter().filter(|token| !self.current.contains(token)).collect();
        let is_changed = is_changed || !gone.is_empty();
        self.earlier.retain(|(token, _)| !self.current.contains(token));
        self.earlier.extend(gone.into_iter().map(|token| (token, now + overlap)));
        self.drop_ended(now);
        is_changed
    }

    /// Removes the earlier tokens that are no longer accepted.
    pub(crate) fn drop_ended(&mut self, now: Instant) {
        self.earlier.retain(|(_, end)| *end > now);
    }

    pub(crate) fn current(&self) -> &[Secret] {
        &self.current
    }

    pub(crate) fn last(&self) -> Option<Secret> {
        self.current.last().cloned()
    }

    /// Returns the tokens that are accepted, each once.
    pub(crate) fn valid(&self) -> impl Iterator<Item = &Secret> {
        self.current.iter().chain(self.earlier.iter().map(|(token, _)| token))
    }

    /// Returns the next moment at which an old token is refused.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.earlier.iter().map(|(_, end)| *end).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn old_token_is_accepted_for_the_overlap() {
        let tokens = |names: &[&str]| names.iter().map(|name| Secret::from(*name)).collect::<Vec<_>>();
        let valid = |history: &TokenHistory| {
            let mut valid: Vec<_> = history.valid().map(|token| token.expose().to_owned()).collect();
            valid.sort();
            valid.join(" ")
        };
        let start = Instant::now();
        let mut history = TokenHistory::new(tokens(&["a"]));
        assert!(!history.update(tokens(&["a"]), start, MINUTE));
        assert!(history.update(tokens(&["b"]), start, MINUTE));
        assert_eq!((valid(&history).as_str(), history.next_end()), ("a b", Some(start + MINUTE)));
        // A second change does not prolong the first token.
        assert!(history.update(tokens(&["c"]), start + MINUTE / 2, MINUTE));
        assert_eq!((valid(&history).as_str(), history.next_end()), ("a b c", Some(start + MINUTE)));
        history.drop_ended(start + MINUTE);
        assert_eq!(valid(&history), "b c");
        // The former token comes back, and is a current one again.
        assert!(history.update(tokens(&["b"]), start + MINUTE, MINUTE));
        assert_eq!(valid(&history), "b c");
        history.drop_ended(start + MINUTE * 2);
        assert_eq!(valid(&history), "b");
        // A missing file is a change, too.
        assert!(history.update(Vec::new(), start + MINUTE * 2, MINUTE));
        assert_eq!(valid(&history), "b");
        assert!(history.update(tokens(&["d"]), start + MINUTE * 2, Duration::ZERO));
        assert_eq!(valid(&history), "b d");
    }
}
