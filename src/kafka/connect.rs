//! Clients: what is set for all of them, and what librdkafka says beside its answers.
//!
//! librdkafka connects by itself, again and again, and tells why it does not succeed in a callback
//! that belongs to no request. [`Voice`] keeps the last of it, so that a request that got no answer
//! can say why, and stop where waiting does not help.

use std::{
    marker::PhantomData,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    client::{Client, OAuthToken},
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
    metadata::Metadata,
    producer::ProducerContext,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Error, Options, Result,
    error::{ended_for, is_transient, lasts},
    token::{self, Given},
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
/// is comes after that, from here and from the caller. None makes a topic by naming it: brokers would
/// make it without our settings, and what is written into it would follow no copy.
pub fn settings(options: &Options) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &options.brokers);
    settings.set("client.id", "wal2graph");
    // Connections that the broker closes because they are idle are no news.
    settings.set("log.connection.close", "false");
    for (name, value) in options.properties.now() {
        settings.set(name, value);
    }
    settings.set("allow.auto.create.topics", "false").set_log_level(RDKafkaLogLevel::Warning);
    settings
}

/// A client that asks, and reads what it is told to: it joins no group. What a transaction that was aborted has
/// written, it does not see.
pub(super) fn asking(options: &Options) -> Result<(Arc<BaseConsumer<Voice>>, Voice)> {
    check_files(options)?;
    let voice = Voice::new(options);
    let mut settings = settings(options);
    settings
        // librdkafka only assigns partitions to who names a group.
        .set("group.id", &options.group)
        .remove("group.instance.id")
        // A question that has no answer is told why.
        .set("log.connection.close", "true")
        .set_log_level(RDKafkaLogLevel::Info)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error");
    let client = settings.create_with_context(voice.clone());
    let client: BaseConsumer<Voice> =
        client.map_err(|error| voice.explain("a client can not be made", &error))?;
    voice.log_in(client.client())?;
    Ok((Arc::new(client), voice))
}

/// Every command asks before it does anything else, so files that are not there are named here.
fn check_files(options: &Options) -> Result<()> {
    for (name, file) in options.properties.files() {
        // A folder can be opened, too.
        if let Err(error) = std::fs::File::open(&file) {
            let cause = format!("{} can not be read: {error}", file.display());
            return Err(Error::Setting { name: name.to_owned(), cause });
        }
    }
    Ok(())
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
            let answer = answer?.map_err(|error| voice.explain(doing, &error))?;
            voice.answered();
            return Ok(answer);
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
    oauth_token_file: Option<Arc<Path>>,
    given: Arc<Mutex<Given>>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The last error.
    error: Option<(Code, String)>,
    /// Why the last connection ended, which is no error to librdkafka.
    ended: Option<String>,
    /// The same of before what is asked now, if nobody has answered since: librdkafka is silent of an
    /// end that is like the one before it.
    ended_before: Option<String>,
}

impl Voice {
    /// One that nothing was heard from.
    pub fn new(options: &Options) -> Self {
        let oauth_token_file = options.oauth_token_file.as_deref().map(Arc::from);
        let (given, heard) = (Arc::default(), Arc::default());
        Voice { brokers: options.brokers.clone(), oauth_token_file, given, heard }
    }

    /// Gives a client what it logs in with, if that has to be renewed.
    ///
    /// # Errors
    /// There is nothing to log in with.
    pub(super) fn log_in<C: ClientContext>(&self, client: &Client<C>) -> Result<()> {
        let Some(file) = &self.oauth_token_file else { return Ok(()) };
        let token = token::read(file)?;
        self.given().gets(&token);
        token::give(client, file, token)
    }

    /// The token that librdkafka asks for.
    pub(super) fn token(&self) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        match &self.oauth_token_file {
            Some(file) => {
                let token = token::read(file)?;
                self.given().gets(&token);
                Ok(token)
            }
            None => Err("kafka.oauth_token_file is not set".into()),
        }
    }

    /// What was heard before says nothing of what is asked now, unless nobody answers.
    fn forget(&self) {
        let mut heard = self.heard();
        let ended_before = heard.ended.take().or_else(|| heard.ended_before.take());
        *heard = Heard { ended_before, ..Heard::default() };
    }

    /// Connections do not end any more.
    fn answered(&self) {
        *self.heard() = Heard::default();
    }

    /// The error of a log-in that failed, if the next one may succeed.
    fn outdated(&self, code: Code) -> Option<Error> {
        let is_of_token = matches!(code, Code::Authentication | Code::SaslAuthenticationFailed);
        let file = self.oauth_token_file.as_deref().filter(|_| is_of_token)?;
        if !self.given().may_be_outdated(file) {
            return None;
        }
        let cause = "a broker has refused a token that the file had before. The next log-in is \
            with the file's token";
        let refused = || Error::Token { file: file.display().to_string(), cause: cause.to_owned() };
        Some(token::read(file).err().unwrap_or_else(refused))
    }

    /// Whether nothing can be asked any more, until somebody changes something.
    pub(super) fn is_end(&self, code: Code) -> bool {
        !is_transient(code) && self.outdated(code).is_none()
    }

    /// The error of a request, with what was heard meanwhile.
    pub fn explain(&self, doing: &'static str, error: &KafkaError) -> Error {
        let silence = matches!(
            error.rdkafka_error_code(),
            Some(
                Code::OperationTimedOut
                    | Code::TimedOutQueue
                    | Code::BrokerTransportFailure
                    | Code::AllBrokersDown
            )
        );
        let outdated = error.rdkafka_error_code().and_then(|code| self.outdated(code));
        match (silence, outdated) {
            (true, _) => self.silence(doing),
            (false, Some(outdated)) => outdated,
            (false, None) => Error::new(doing, error, None),
        }
    }

    /// Nobody has answered: an error that lasts if one was heard.
    pub fn silence(&self, doing: &'static str) -> Error {
        self.silence_of(doing, ANSWER_LIMIT)
    }

    /// The same of another time.
    pub fn silence_of(&self, doing: &'static str, limit: Duration) -> Error {
        if let Some(error) = self.lasting(doing) {
            return error;
        }
        let brokers = self.brokers.clone();
        let heard = self.heard();
        let ended = heard.ended.as_ref().or(heard.ended_before.as_ref());
        let reason = match &heard.error {
            // That all are down says nothing of why.
            Some((Code::AllBrokersDown, all)) => ended.or(Some(all)),
            Some((_, reason)) => Some(reason),
            None => ended,
        };
        Error::NoAnswer { doing, brokers, limit, reason: reason.cloned() }
    }

    /// More was heard than that nobody answers.
    pub(super) fn knows_cause(&self) -> bool {
        let heard = self.heard();
        let says_more = |(code, _): &(Code, String)| *code != Code::AllBrokersDown;
        heard.ended.is_some() || heard.error.as_ref().is_some_and(says_more)
    }

    /// The last thing heard that waiting does not help against.
    pub fn lasting(&self, doing: &'static str) -> Option<Error> {
        let Heard { error, ended, .. } = &*self.heard();
        let error = error.as_ref().filter(|(code, reason)| lasts(*code, reason));
        let (code, reason) = match (error, ended) {
            (Some((code, reason)), _) => (ended_for(reason).unwrap_or(*code), reason),
            // What it has said once, librdkafka may not say as an error again.
            (None, Some(reason)) => (ended_for(reason)?, reason),
            (None, None) => return None,
        };
        if self.outdated(code).is_some() {
            return None;
        }
        Some(Error::Failed { doing, code, reason: Some(reason.clone()) })
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Voice {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.token()
    }

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
        if code != Code::AllBrokersDown || heard.error.is_none() {
            heard.error = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Voice {}

/// What waits for records that a producer sends.
pub(super) trait Delivered: Send + Sync + 'static {
    /// A record was delivered, or will not be.
    fn delivered(&self, result: &DeliveryResult<'_>);
}

/// The context of a producer: hears what librdkafka says, and hands each delivery to what waits for it.
pub(super) struct Listener<D> {
    voice: Voice,
    waits: PhantomData<fn() -> D>,
}

impl<D> Listener<D> {
    pub(super) fn new(voice: Voice) -> Self {
        Listener { voice, waits: PhantomData }
    }
}

impl<D: Delivered> ClientContext for Listener<D> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.voice.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }
}

impl<D: Delivered> ProducerContext for Listener<D> {
    type DeliveryOpaque = Arc<D>;

    fn delivery(&self, result: &DeliveryResult<'_>, to: Arc<D>) {
        to.delivered(result);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError};

    use super::{Arc, Code, Error, Heard, Voice};

    fn voice() -> Voice {
        let (given, heard) = (Arc::default(), Arc::new(Heard::default().into()));
        Voice { brokers: "b:9092".to_owned(), oauth_token_file: None, given, heard }
    }

    #[test]
    fn a_broker_that_is_away_for_long_is_told_of_with_the_cause_that_was_heard_first() {
        let voice = voice();
        let all_down = || voice.error(KafkaError::Global(Code::AllBrokersDown), "1/1 are down");
        let said = || voice.silence("it").to_string();
        voice.log(RDKafkaLogLevel::Error, "FAIL", "[thrd:b:9092]: Connect failed: refused");
        all_down();
        assert!(said().contains("refused"), "{}", said());
        for _ in 0..2 {
            voice.forget();
            all_down();
            assert!(said().contains("refused"), "{}", said());
        }
        voice.answered();
        all_down();
        assert!(said().contains("1/1 are down"), "{}", said());
        // What lasted before may have been changed.
        voice.log(RDKafkaLogLevel::Error, "FAIL", "[thrd:b:9092]: SASL authentication error: no");
        voice.forget();
        assert!(voice.lasting("it").is_none());
    }

    /// Which of both ways librdkafka takes depends on what OpenSSL has left on its stack: on the
    /// bytes of a signature.
    #[test]
    fn a_certificate_that_is_only_the_end_of_a_connection_is_a_lasting_error() {
        for (text, expected) in [
            (
                "SSL handshake failed: certificate verify failed: broker certificate",
                Some(Code::SSL),
            ),
            ("SASL authentication error: no", Some(Code::SaslAuthenticationFailed)),
            ("SSL handshake failed: Disconnected", None),
        ] {
            let voice = voice();
            voice.log(RDKafkaLogLevel::Error, "FAIL", &format!("[thrd:b:9092]: {text}"));
            voice.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
            assert_eq!(voice.lasting("it").and_then(|error| error.code()), expected, "{text}");
            let silence = voice.silence("it");
            assert_eq!(matches!(silence, Error::NoAnswer { .. }), expected.is_none(), "{silence}");
        }
    }
}
