//! Why Kafka did not do what was asked, and whether to ask again.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::{
    checkpoint::TopicPartition,
    health::Side,
    pipeline::{Failure, Verdict},
    shown::Shown,
};

/// What Kafka's operations give.
pub type Result<T> = std::result::Result<T, Error>;

/// Why Kafka did not do what was asked. No text holds a secret or a row's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A setting that librdkafka does not take.
    #[error("kafka.properties.{name}: {cause}")]
    Setting {
        /// The setting.
        name: String,
        /// What librdkafka says.
        cause: String,
    },
    /// librdkafka does not begin with these settings.
    #[error("kafka.properties: {0}")]
    Settings(String),
    /// Kafka, or librdkafka for it, says no.
    #[error("Kafka: {doing}: {code}{}{}", said(.reason), fix(*.code))]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// The error.
        code: Code,
        /// What librdkafka said of it beside.
        reason: Option<String>,
    },
    /// Nobody answers.
    #[error("Kafka: {doing}: no answer from {brokers} in {} s{}{}", .limit.as_secs(), said(.reason), hint(.reason))]
    NoAnswer {
        /// What was tried.
        doing: &'static str,
        /// Who was asked.
        brokers: String,
        /// For how long.
        limit: Duration,
        /// What librdkafka said of it beside.
        reason: Option<String>,
    },
    /// No token to log in with.
    #[error("Kafka: kafka.oauth_token_file {file}: {cause}")]
    Token {
        /// The file.
        file: String,
        /// What is wrong with it. Holds no token.
        cause: String,
    },
    /// A record of somebody else came between ours.
    #[error(
        "Kafka: somebody else has just written to partition {partition} of {topic}: another publisher, the last \
         words of one that was killed, or a program that should write elsewhere. If this goes on, that program may \
         have a transaction open in the topic: nothing behind it can be read before it ends, by the broker at last \
         (transaction.timeout.ms)"
    )]
    Elsewhere {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// What was to be read is not there any more.
    #[error(
        "Kafka: the records of {at} from offset {start} on are gone: they were deleted (retention), or the topic was \
         made again"
    )]
    Gone {
        /// The partition.
        at: TopicPartition,
        /// The first offset that was to be read.
        start: u64,
    },
    /// A record does not fit into the topic.
    #[error(
        "Kafka: {} makes a record of {bytes} bytes, more than the topic {topic} takes. Raise \
         max.message.bytes of the topic (and message.max.bytes in kafka.properties, if it is set there), or leave wide \
         columns out of the publication",
        row_of(.table)
    )]
    TooLarge {
        /// The topic.
        topic: String,
        /// The table; empty: it is not known.
        table: String,
        /// The record's size.
        bytes: usize,
    },
    /// Something has to be changed first; the text says what.
    #[error("Kafka: {0}")]
    Definite(String),
}

fn row_of(table: &str) -> String {
    match table {
        "" => "a heartbeat or a message".to_owned(),
        table => format!("a row of {}", Shown(table)),
    }
}

fn said(reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"))
}

/// A connection that ends with its first request is one that the listener takes for another kind.
fn hint(reason: &Option<String>) -> &'static str {
    match reason {
        Some(reason) if reason.contains("APIVERSION_QUERY") => {
            ". See that security.protocol in kafka.properties is what this listener asks for"
        }
        _ => "",
    }
}

/// What to do about an error that lasts.
fn fix(code: Code) -> &'static str {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::IllegalSASLState => {
            ". See security.protocol, sasl.mechanism, sasl.username and sasl.password in \
             kafka.properties, or the token in kafka.oauth_token_file"
        }
        Code::SSL => {
            ". See ssl.ca.location, ssl.certificate.location and ssl.key.location in \
             kafka.properties"
        }
        Code::UnsupportedSASLMechanism => ". Name another sasl.mechanism in kafka.properties",
        Code::TopicAuthorizationFailed => {
            ". Let the user describe, read and write the topic, and create it if it is missing"
        }
        Code::GroupAuthorizationFailed => ". Let the user read the consumer group",
        Code::ClusterAuthorizationFailed => {
            ". Let the user create topics, or create the topic for it"
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            ". Raise max.message.bytes of the topic, and message.max.bytes in kafka.properties"
        }
        Code::InvalidReplicationFactor => {
            ". Set kafka.replication_factor to no more than there are brokers"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => {
            ". The topic is gone"
        }
        _ => "",
    }
}

impl Error {
    /// The error's code, if Kafka gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Failed { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The topic, or a partition of it, is not there.
    pub fn is_of_missing_topic(&self) -> bool {
        matches!(
            self.code(),
            Some(
                Code::UnknownTopic
                    | Code::UnknownTopicOrPartition
                    | Code::UnknownTopicId
                    | Code::UnknownPartition
            )
        )
    }

    /// What was tried, and what came of it.
    pub(super) fn new(doing: &'static str, error: &KafkaError, reason: Option<String>) -> Self {
        match error {
            // Its text would show the value.
            KafkaError::ClientConfig(_, cause, name, _) => {
                Error::Setting { name: name.clone(), cause: cause.clone() }
            }
            KafkaError::ClientCreation(cause) => Error::Settings(cause.clone()),
            // rdkafka says nothing of the code that an administrative request failed with.
            KafkaError::AdminOp(code) => Error::Failed { doing, code: *code, reason },
            other => match other.rdkafka_error_code() {
                Some(code) => Error::Failed { doing, code, reason },
                None => Error::Definite(format!("{doing}: {other}")),
            },
        }
    }
}

/// The same may succeed later without anybody changing anything.
pub(super) fn is_transient(code: Code) -> bool {
    !matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::IllegalSASLState
            | Code::UnsupportedSASLMechanism
            | Code::SecurityDisabled
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidReplicationFactor
            | Code::InvalidPartitions
            | Code::InvalidConfig
            | Code::InvalidTopic
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::PolicyViolation
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnsupportedCompressionType
            | Code::UnsupportedForMessageFormat
            | Code::NotImplemented
            | Code::InvalidArgument
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::UnknownPartition
            | Code::OffsetOutOfRange
            | Code::AutoOffsetReset
            | Code::LogTruncation
            | Code::OffsetMetadataTooLarge
            | Code::GroupMaxSizeReached
    )
}

/// What was heard of a connection will be heard again, until somebody changes something.
pub(super) fn lasts(code: Code, reason: &str) -> bool {
    let may_be = matches!(code, Code::SSL | Code::BrokerTransportFailure);
    !is_transient(code) || (may_be && ended_for(reason).is_some())
}

/// What ended a connection, if it will end the next one too: a certificate or a log-in that does not
/// fit. Other handshakes end because a broker goes away; and of two connections that end for the same
/// reason, librdkafka tells one as the end of a connection only.
pub(super) fn ended_for(reason: &str) -> Option<Code> {
    let ends =
        [("certificate", Code::SSL), ("SASL authentication error", Code::SaslAuthenticationFailed)];
    ends.into_iter().find(|(word, _)| reason.contains(word)).map(|(_, code)| code)
}

impl Failure for Error {
    fn refused_login(&self) -> Option<Side> {
        let Error::Failed { code, reason, .. } = self else { return None };
        let refused = [Code::Authentication, Code::SaslAuthenticationFailed];
        let code = ended_for(reason.as_deref().unwrap_or_default()).unwrap_or(*code);
        refused.contains(&code).then_some(Side::Kafka)
    }

    fn verdict(&self) -> Verdict {
        match self {
            Error::Failed { code, reason, .. } => {
                Verdict::again_if(!lasts(*code, reason.as_deref().unwrap_or_default()))
            }
            // Who writes tokens may begin after us.
            Error::NoAnswer { .. } | Error::Elsewhere { .. } | Error::Token { .. } => {
                Verdict::Again
            }
            // The next look begins where the topic begins then.
            Error::Gone { .. } => Verdict::Again,
            Error::Setting { .. }
            | Error::Settings(_)
            | Error::TooLarge { .. }
            | Error::Definite(_) => Verdict::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Error, Failure, KafkaError, Side};

    #[test]
    fn an_administrative_request_that_had_no_answer_is_made_again() {
        let error = Error::new("it", &KafkaError::AdminOp(Code::OperationTimedOut), None);
        assert!(error.is_transient(), "{error}");
        let error = Error::new("it", &KafkaError::AdminOp(Code::TopicAuthorizationFailed), None);
        assert!(!error.is_transient(), "{error}");
    }

    #[test]
    fn a_refused_log_in_is_told_from_a_certificate_that_does_not_fit() {
        let of = |code, reason: &str| {
            Error::Failed { doing: "it", code, reason: Some(reason.to_owned()) }.refused_login()
        };
        assert_eq!(of(Code::SaslAuthenticationFailed, "no"), Some(Side::Kafka));
        assert_eq!(
            of(Code::BrokerTransportFailure, "SASL authentication error: no"),
            Some(Side::Kafka)
        );
        assert_eq!(of(Code::SSL, "certificate verify failed"), None);
        assert_eq!(of(Code::BrokerTransportFailure, "Connection refused"), None);
    }

    #[test]
    fn a_certificate_that_does_not_fit_today_does_not_fit_tomorrow() {
        let failed = |code, reason: &str| {
            Error::Failed { doing: "it", code, reason: Some(reason.to_owned()) }.is_transient()
        };
        assert!(!failed(Code::SSL, "SSL handshake failed: certificate verify failed"));
        assert!(failed(Code::SSL, "SSL handshake failed: connection reset by peer"));
        let ended = "error:0A000086:SSL routines::certificate verify failed";
        assert!(!failed(Code::BrokerTransportFailure, ended));
        assert!(failed(Code::BrokerTransportFailure, "Connection refused"));
    }
}
