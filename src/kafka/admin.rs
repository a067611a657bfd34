//! Administrative requests, sent to a broker that has just answered.
//!
//! Unless it is told which broker to ask, librdkafka asks the one that metadata names as the
//! controller. Brokers that follow KRaft name any of those that they hold for alive, a dead one among
//! them for a while, and librdkafka waits for that one until the limit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigEntry, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    },
    config::FromClientConfigAndContext,
    consumer::BaseConsumer,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

use super::{
    Error, Options, Result,
    connect::{ANSWER_LIMIT, Voice, asking, metadata, settings},
};

/// Settings by name.
pub(super) type Settings = HashMap<String, String>;

/// A client for administrative requests.
pub(super) struct Admin {
    client: AdminClient<Voice>,
    voice: Voice,
    /// The broker that has answered; `None` if it is only known by its address.
    broker: Option<i32>,
}

impl Admin {
    /// A client that asks a broker which answers. `topic` is what it is asked for first.
    pub(super) async fn new(options: &Options, topic: &str, doing: &'static str) -> Result<Self> {
        let (client, voice) = asking(options)?;
        let broker = answering(&client, &voice, topic, doing).await?;
        Admin::to(options, broker)
    }

    /// A client that asks this broker.
    pub(super) fn to(options: &Options, broker: Option<i32>) -> Result<Self> {
        let voice = Voice::new(options);
        let client: KafkaResult<AdminClient<Voice>> =
            AdminClient::from_config_and_context(&settings(options), voice.clone());
        let client = client.map_err(|error| voice.explain("a client can not be made", &error))?;
        voice.log_in(client.inner())?;
        Ok(Admin { client, voice, broker })
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// Nobody answers, or what a broker says of this topic, as an administrative error.
    pub(super) async fn create(&self, topic: &NewTopic<'_>, doing: &'static str) -> Result<()> {
        // Brokers that follow ZooKeeper leave it to their controller.
        match self.create_at(self.broker, topic, doing).await {
            Err(error) if error.code() == Some(Code::NotController) => {
                self.create_at(None, topic, doing).await
            }
            created => created,
        }
    }

    async fn create_at(
        &self,
        broker: Option<i32>,
        topic: &NewTopic<'_>,
        doing: &'static str,
    ) -> Result<()> {
        let answers = self.client.create_topics([topic], &patience(broker)).await;
        let answers = answers.map_err(|error| self.voice.explain(doing, &error))?;
        match answers.into_iter().next() {
            Some(Err((_, code))) => Err(Error::new(doing, &KafkaError::AdminOp(code), None)),
            _ => Ok(()),
        }
    }

    /// The settings of the broker that is asked; `None` if they may not be read, or it has no number.
    pub(super) async fn broker_settings(&self, doing: &'static str) -> Result<Option<Settings>> {
        let Some(broker) = self.broker else { return Ok(None) };
        let found = self.settings(&[ResourceSpecifier::Broker(broker)], doing).await?;
        Ok(found.into_iter().next().map(|(_, settings)| settings))
    }

    /// The settings of topics by name, without those that may not be read.
    pub(super) async fn topics_settings(
        &self,
        topics: &[&str],
        doing: &'static str,
    ) -> Result<BTreeMap<String, Settings>> {
        let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let found = self.settings(&asked, doing).await?.into_iter();
        let of_topic = |(of, settings)| match of {
            OwnedResourceSpecifier::Topic(topic) => Some((topic, settings)),
            _ => None,
        };
        Ok(found.filter_map(of_topic).collect())
    }

    /// Settings by name, those without a value left out, of what may be read.
    async fn settings(
        &self,
        of: &[ResourceSpecifier<'_>],
        doing: &'static str,
    ) -> Result<Vec<(OwnedResourceSpecifier, Settings)>> {
        let answers = self.client.describe_configs(of, &patience(self.broker)).await;
        let answers = answers.map_err(|error| self.voice.explain(doing, &error))?;
        let value = |entry: ConfigEntry| entry.value.map(|value| (entry.name, value));
        let mut found = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(resource) => {
                    let settings = resource.entries.into_iter().filter_map(value).collect();
                    found.push((resource.specifier, settings));
                }
                // Who may write records need not be allowed to read settings.
                Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {}
                Err(code) => return Err(Error::new(doing, &KafkaError::AdminOp(code), None)),
            }
        }
        Ok(found)
    }
}

fn patience(broker: Option<i32>) -> AdminOptions {
    let patience = AdminOptions::new();
    let patience = patience.request_timeout(Some(ANSWER_LIMIT)).broker_id(broker);
    patience.operation_timeout(Some(ANSWER_LIMIT))
}

/// The number of a broker that answers; `None` if it is only known by its address. The first answer
/// tells the client which number belongs to the address.
async fn answering(
    client: &Arc<BaseConsumer<Voice>>,
    voice: &Voice,
    topic: &str,
    doing: &'static str,
) -> Result<Option<i32>> {
    for _ in 0..2 {
        let broker = metadata(client, voice, topic, doing).await?.orig_broker_id();
        if broker >= 0 {
            return Ok(Some(broker));
        }
    }
    Ok(None)
}
