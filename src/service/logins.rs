//! Log-ins that are refused while somebody replaces their secret.
//!
//! ```text
//! refused, has begun before, a file has the secret --again, with what the file has then--> a life
//!                                                  --for LIMIT in vain--> the error
//! ```
//!
//! The file changes after the server's password, or before it. In between the program is refused, and nothing is wrong.
//! At a first start the same refusal ends it at once: a person is there, and has written the wrong one.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::{config::Config, health::Side, pipeline::Failure};

use super::ServiceError;

/// How long a refused log-in is tried again.
pub const LIMIT: Duration = Duration::from_secs(600);

/// The log-ins of a service that are refused.
#[derive(Default)]
pub struct LogIns {
    /// One side, and since when.
    refused: Option<(Side, Instant)>,
}

/// A refused log-in that is tried again.
#[derive(Debug)]
pub struct TriedAgain {
    files: Vec<String>,
}

impl fmt::Display for TriedAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, minutes) = (self.files.join(" and "), LIMIT.as_secs() / 60);
        write!(
            f,
            "The log-in is tried again for {minutes} minutes, each time with what {files} has then"
        )
    }
}

impl LogIns {
    /// A log-in has succeeded.
    pub fn succeeded(&mut self) {
        self.refused = None;
    }

    /// Whether the error is a refused log-in that is tried again, since files may have another secret soon.
    pub fn tried_again(
        &mut self,
        error: &ServiceError,
        config: &Config,
        has_begun: bool,
    ) -> Option<TriedAgain> {
        let side = error.refused_login().filter(|_| has_begun)?;
        let files = config.login_files(side);
        (!files.is_empty() && self.is_within(side)).then_some(TriedAgain { files })
    }

    fn is_within(&mut self, side: Side) -> bool {
        let now = Instant::now();
        let since = self.refused.filter(|(of, _)| *of == side).map_or(now, |(_, since)| since);
        self.refused = Some((side, since));
        now - since < LIMIT
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_log_in_is_tried_again_for_a_while_and_not_for_ever() {
        let mut logins = LogIns::default();
        for _ in 0..10 {
            assert!(logins.is_within(Side::Graph));
            advance(LIMIT / 10).await;
        }
        assert!(!logins.is_within(Side::Graph));
        // Another side has a time of its own, and so has the next refusal of a side that was there meanwhile.
        assert!(logins.is_within(Side::Source));
        advance(LIMIT).await;
        assert!(!logins.is_within(Side::Source));
        logins.succeeded();
        assert!(logins.is_within(Side::Source));
    }
}
