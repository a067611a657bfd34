//! Clients: what is set for all of them, and what librdkafka says beside its answers.
//!
//! librdkafka connects by itself, again and again, and tells why it does not succeed in a callback
//! that belongs to no request. [`Voice`] keeps the last of it, so that a request that got no answer
//! can say why, and stop where waiting does not help.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Error, Options, Result,
    error::{is_of_certificate, lasts},
};

/// What librdkafka's log calls the end of a connection.
const ENDED: &str = "FAIL";

/// How long one request may wait for its answer, connecting included.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// From when on silence is asked for its reason.
pub(super) const SILENCE_SHORT: Duration = Duration::from_secs(3);
/// How often it is.
const LOOK: Duration = Duration::from_millis(100);

/// What every client is set to: the brokers, then what the configuration says. What must be as it
/// is comes after that, from the caller.
pub fn settings(options: &Options) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &options.brokers);
    settings.set("client.id", "wal2graph");
    // Connections that the broker closes because they are idle are no news.
    settings.set("log.connection.close", "false");
    for (name, value) in options.properties.iter() {
        settings.set(name, value);
    }
    settings.set_log_level(RDKafkaLogLevel::Warning);
    settings
}

/// A client that asks, and reads what it is told to: it joins no group, and never makes a topic by
/// asking for it.
pub(super) fn asking(options: &Options) -> Result<(Arc<BaseConsumer<Voice>>, Voice)> {
    let voice = Voice::new(options);
    let mut settings = settings(options);
    settings
        // librdkafka only assigns partitions to who names a group.
        .set("group.id", &options.group)
        .remove("group.instance.id")
        // A question that has no answer is told why.
        .set("log.connection.close", "true")
        .set_log_level(RDKafkaLogLevel::Info)
        .set("allow.auto.create.topics", "false")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error");
    let client = settings.create_with_context(voice.clone());
    let client = client.map_err(|error| voice.explain("a client can not be made", &error))?;
    Ok((Arc::new(client), voice))
}

/// Runs what waits for librdkafka on a thread of its own: nothing else waits for it, the program's
/// end included.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.await.map_err(|_| Error::Definite("a thread of wal2graph ended in a bug".to_owned()))
}

/// What brokers say of a topic. While nobody answers, something that lasts ends the wait: other
/// brokers had their time.
///
/// Nothing may be read with the client meanwhile.
pub(super) async fn metadata<C: ConsumerContext + 'static>(
    client: &Arc<BaseConsumer<C>>,
    voice: &Voice,
    topic: &str,
    doing: &'static str,
) -> Result<Metadata> {
    voice.forget();
    let (asked, name, began) = (client.clone(), topic.to_owned(), Instant::now());
    let answer = on_thread(move || asked.fetch_metadata(Some(&name), ANSWER_LIMIT));
    tokio::pin!(answer);
    loop {
        let answered = tokio::time::timeout(LOOK, &mut answer).await;
        // Why a connection broke is only told to who polls.
        while client.poll(Duration::ZERO).is_some() {}
        if let Ok(answer) = answered {
            return answer?.map_err(|error| voice.explain(doing, &error));
        }
        if began.elapsed() > SILENCE_SHORT
            && let Some(error) = voice.lasting(doing)
        {
            return Err(error);
        }
    }
}

/// What librdkafka says beside its answers: logged, and the last of it kept.
#[derive(Clone, Debug)]
pub struct Voice {
    brokers: String,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The last error.
    error: Option<(RDKafkaErrorCode, String)>,
    /// Why the last connection ended, which is no error to librdkafka.
    ended: Option<String>,
}

impl Voice {
    /// One that nothing was heard from.
    pub fn new(options: &Options) -> Self {
        Voice { brokers: options.brokers.clone(), heard: Arc::default() }
    }

    /// What was heard before says nothing of what is asked now.
    fn forget(&self) {
        *self.heard() = Heard::default();
    }

    /// The error of a request, with what was heard meanwhile.
    pub fn explain(&self, doing: &'static str, error: &KafkaError) -> Error {
        let silence = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::TimedOutQueue
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
            )
        );
        match silence {
            true => self.silence(doing),
            false => Error::new(doing, error, None),
        }
    }

    /// Nobody has answered: an error that lasts if one was heard.
    pub fn silence(&self, doing: &'static str) -> Error {
        if let Some(error) = self.lasting(doing) {
            return error;
        }
        let (brokers, limit) = (self.brokers.clone(), ANSWER_LIMIT);
        let heard = self.heard();
        let reason = match &heard.error {
            // That all are down says nothing of why.
            Some((RDKafkaErrorCode::AllBrokersDown, all)) => heard.ended.as_ref().or(Some(all)),
            Some((_, reason)) => Some(reason),
            None => heard.ended.as_ref(),
        };
        Error::NoAnswer { doing, brokers, limit, reason: reason.cloned() }
    }

    /// The last thing heard that waiting does not help against.
    pub fn lasting(&self, doing: &'static str) -> Option<Error> {
        let heard = self.heard().error.clone().filter(|(code, reason)| lasts(*code, reason));
        heard.map(|(code, reason)| {
            let code = if is_of_certificate(code, &reason) { RDKafkaErrorCode::SSL } else { code };
            Error::Failed { doing, code, reason: Some(reason) }
        })
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Voice {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        if facility == ENDED {
            // It begins with the thread's name.
            let message = message.split_once("]: ").map_or(message, |(_, message)| message);
            self.heard().ended = Some(message.to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        let Some(code) = error.rdkafka_error_code() else { return };
        // That all are down is said after why each of them is.
        let mut heard = self.heard();
        if code != RDKafkaErrorCode::AllBrokersDown || heard.error.is_none() {
            heard.error = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Voice {}
