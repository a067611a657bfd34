//! Whether topics are compacted, looked at again and again: anybody may set it while they are used.

use super::{Options, admin::Admin};

const DOING: &str = "the topic's settings can not be read";

/// Looks at the settings of topics, with one client for as long as its broker answers.
pub struct Policies {
    options: Options,
    admin: Option<Admin>,
}

impl Policies {
    /// Nobody is asked yet.
    pub fn new(options: &Options) -> Self {
        Policies { options: options.clone(), admin: None }
    }

    /// The first of these topics that is compacted. `None` also where nobody answers, or settings may not be read.
    pub async fn compacted(&mut self, topics: &[&str]) -> Option<String> {
        let first = topics.first()?;
        let admin = match self.admin.take() {
            Some(admin) => admin,
            None => Admin::new(&self.options, first, DOING).await.ok()?,
        };
        let settings = admin.topics_settings(topics, DOING).await.ok()?;
        // Another broker is asked after an error.
        self.admin = Some(admin);
        let compacted =
            settings.into_iter().find(|(_, settings)| is_compacted(settings.get(POLICY)));
        compacted.map(|(topic, _)| topic)
    }
}

/// The setting.
pub(super) const POLICY: &str = "cleanup.policy";

/// Whether its value is one that takes records away by their key.
pub(super) fn is_compacted(policy: Option<&String>) -> bool {
    policy.is_some_and(|policy| policy.contains("compact"))
}
