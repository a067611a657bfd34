//! What a pipeline does, as the program and the command name it.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::health;

/// What a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The program prepares and has not streamed yet.
    Starting,
    /// Tables are copied, or compared after a change of them, beside the stream.
    Copying,
    /// The graph follows the source.
    Streaming,
    /// `apply` applies records of a topic again. Only the command reports this; the program reports `streaming`.
    Replaying,
    /// Source, graph or Kafka does not answer, and the program connects again by itself.
    Waiting,
    /// Another instance has the slot, or others have all partitions: this one takes over when they go.
    Standby,
    /// The program was asked to stop, and finishes the batch in flight.
    Stopping,
    /// The program does nothing any more until a person has changed something, and started it again.
    Stopped,
    /// There is no graph of the pipeline yet. The command's.
    #[serde(rename = "not started")]
    NotStarted,
    /// Nobody reads the log. The command's.
    #[serde(rename = "not running")]
    NotRunning,
    /// Nobody reads the log, and the next start is refused. The command's.
    Refused,
    /// A topic is read, and Kafka does not say whether by anybody. The command's.
    Unknown,
}

impl State {
    /// Its name, as the document has it.
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Copying => "copying",
            State::Streaming => "streaming",
            State::Replaying => "replaying",
            State::Waiting => "waiting",
            State::Standby => "standby",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::NotStarted => "not started",
            State::NotRunning => "not running",
            State::Refused => "refused",
            State::Unknown => "unknown",
        }
    }

    /// Somebody reads the log.
    pub fn runs(self) -> bool {
        matches!(self, State::Copying | State::Streaming | State::Replaying)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<&health::State> for State {
    fn from(state: &health::State) -> Self {
        match state {
            health::State::Starting => State::Starting,
            health::State::Copying => State::Copying,
            health::State::Streaming => State::Streaming,
            health::State::Waiting { .. } => State::Waiting,
            health::State::Standby { .. } => State::Standby,
            health::State::Stopping => State::Stopping,
            health::State::Stopped { .. } => State::Stopped,
        }
    }
}
