//! The thread that polls.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
};

use super::{
    super::offsets,
    ConsumeError, Shared, lock,
    reading::{Client, Order, Reading},
};

/// How long an idle poll waits for a record; commits of offsets wait for no longer.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long a poll waits while a channel is full.
const FULL_POLL: Duration = Duration::from_millis(10);
/// Nothing is handed over before this many records were gathered, if there are so many.
const BATCH_RECORDS: usize = 1_000;
/// The same in bytes of them.
const BATCH_BYTES: usize = 1 << 20;
/// How long the last commit and leaving the group may take together.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// The same trouble is told of once in this time.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(30);
/// How long its cause is waited for: it is heard when the next connection fails.
const CAUSE_LIMIT: Duration = Duration::from_secs(2);

/// The thread's state.
pub(super) struct Reader {
    client: Client,
    shared: Arc<Shared>,
    to_do: mpsc::Receiver<Order>,
    group: String,
    readings: Vec<Reading>,
    /// Whose the last record was: the next one is mostly its, too.
    last: usize,
    trouble_at: Option<Instant>,
    /// Trouble that was not told of yet, and since when there is.
    trouble: Option<(Instant, KafkaError)>,
}

impl Reader {
    pub(super) fn new(
        client: Client,
        shared: Arc<Shared>,
        to_do: mpsc::Receiver<Order>,
        group: String,
    ) -> Self {
        Reader {
            client,
            shared,
            to_do,
            group,
            readings: Vec::new(),
            last: 0,
            trouble_at: None,
            trouble: None,
        }
    }

    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        while !shared.stop.load(Ordering::Relaxed) {
            if let Err(error) = self.turn() {
                *lock(&shared.failure) = Some(error);
                break;
            }
        }
        self.leave();
        shared.assignment.send_modify(|assignment| assignment.clear());
        shared.ended.send_replace(true);
    }

    fn turn(&mut self) -> Result<(), ConsumeError> {
        self.begin();
        self.commit();
        self.gather()?;
        self.tell_trouble();
        self.retire();
        for reading in &mut self.readings {
            reading.deliver(&self.client);
        }
        Ok(())
    }

    /// Takes up what is to be read.
    fn begin(&mut self) {
        while let Ok(order) = self.to_do.try_recv() {
            let start = match order {
                Order::Read(start) => *start,
                Order::Pass { at, from, to } => {
                    let its = self.readings.iter_mut().find(|reading| *reading.at() == at);
                    its.into_iter().for_each(|reading| reading.pass(from, to));
                    continue;
                }
            };
            let number = self.shared.assignment.borrow().get(&start.at).copied();
            self.readings.retain(|reading| *reading.at() != start.at);
            // What is not ours any more ends with its channel.
            self.readings.extend(number.map(|number| Reading::new(start, number)));
        }
        for reading in &mut self.readings {
            reading.begin(&self.client);
        }
    }

    /// Polls once at least, and on while there are records and room for them.
    fn gather(&mut self) -> Result<(), ConsumeError> {
        let (mut records, mut bytes) = (0, 0);
        let is_full = self.readings.iter().any(Reading::waits_for_room);
        let mut wait = if is_full { FULL_POLL } else { IDLE_POLL };
        let consumer = self.client.consumer.clone();
        while records < BATCH_RECORDS && bytes < BATCH_BYTES {
            match consumer.poll(wait) {
                None => break,
                Some(Err(error)) => self.trouble(&error)?,
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    self.record(&message);
                }
            }
            records += 1;
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn record(&mut self, message: &BorrowedMessage<'_>) {
        let is_its = |reading: &Reading| {
            let at = reading.at();
            at.partition == message.partition() && at.topic == message.topic()
        };
        if !self.readings.get(self.last).is_some_and(is_its) {
            let Some(found) = self.readings.iter().position(is_its) else { return };
            self.last = found;
        }
        self.readings[self.last].record(message, &self.client);
    }

    /// Lets go of partitions that are not ours any more, or that nobody wants read.
    fn retire(&mut self) {
        let assignment = self.shared.assignment.borrow().clone();
        let is_ours = |reading: &Reading| assignment.get(reading.at()) == Some(&reading.number());
        let (mut kept, mut closed) = (Vec::new(), Vec::new());
        for reading in self.readings.drain(..) {
            match (is_ours(&reading), reading.is_closed()) {
                (true, false) => kept.push(reading),
                (true, true) => closed.push(reading),
                (false, _) => tell_duplicates(&reading),
            }
        }
        self.readings = closed;
        self.commit();
        for reading in &mut self.readings {
            reading.pause(&self.client);
            tell_duplicates(reading);
        }
        self.readings = kept;
    }

    /// What librdkafka can not help by itself is the end; of the rest it is told now and then.
    fn trouble(&mut self, error: &KafkaError) -> Result<(), ConsumeError> {
        match (error.rdkafka_error_code(), error) {
            (Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation), _) => {
                // It does not say which.
                for reading in &mut self.readings {
                    match reading.check_hole(&self.client) {
                        Err(ConsumeError::Kafka(error)) => return Err(error.into()),
                        Err(error) => reading.fail(&self.client, error),
                        Ok(()) => {}
                    }
                }
                Ok(())
            }
            (Some(Code::PollExceeded), _) => {
                Err(ConsumeError::Expelled { group: self.group.clone() })
            }
            (Some(code), error) if !self.client.voice.is_end(code) && !is_fatal(error) => {
                if self.trouble_at.is_none_or(|at| at.elapsed() > TROUBLE_INTERVAL) {
                    self.trouble.get_or_insert_with(|| (Instant::now(), error.clone()));
                }
                Ok(())
            }
            (_, error) => Err(self.client.voice.explain("read the partition", error).into()),
        }
    }

    /// Tells of trouble once its cause was heard, or is not to be.
    fn tell_trouble(&mut self) {
        let voice = &self.client.voice;
        let is_due = |(since, _): &mut (Instant, KafkaError)| {
            voice.knows_cause() || since.elapsed() > CAUSE_LIMIT
        };
        let Some((_, error)) = self.trouble.take_if(is_due) else { return };
        self.trouble_at = Some(Instant::now());
        let error = voice.explain("read the topics", &error);
        tracing::warn!(%error, "Kafka reports an error: reading goes on once it is over");
    }

    /// Commits what the graph has, if that is new.
    fn commit(&mut self) {
        let Some(list) = self.uncommitted() else { return };
        if let Err(error) = self.client.consumer.commit(&list, CommitMode::Async) {
            // The next one will do; the graph's checkpoint is what counts.
            tracing::debug!(%error, "the group's offset was not committed");
        }
    }

    /// The last commit. Only a commit that is waited for says when it is done.
    fn commit_last(&mut self) -> Option<thread::JoinHandle<()>> {
        let list = self.uncommitted()?;
        let consumer = self.client.consumer.clone();
        Some(thread::spawn(move || {
            if let Err(error) = consumer.commit(&list, CommitMode::Sync) {
                tracing::debug!(%error, "the group's last offset was not committed");
            }
        }))
    }

    fn uncommitted(&mut self) -> Option<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for reading in &mut self.readings {
            let Some(offset) = reading.to_commit() else { continue };
            match offsets::add_committed(&mut list, reading.at(), offset, reading.metadata()) {
                Ok(()) => reading.committed(offset),
                Err(error) => tracing::debug!(%error, "the group's offset can not be named"),
            }
        }
        (list.count() > 0).then_some(list)
    }

    /// Leaves the group, so that it can be reset. librdkafka keeps static members in it until
    /// their session ends.
    fn leave(&mut self) {
        let began = Instant::now();
        let last = self.commit_last();
        let is_done = || last.as_ref().is_none_or(thread::JoinHandle::is_finished);
        while !is_done() && began.elapsed() < LEAVE_LIMIT {
            let _ = self.client.consumer.poll(FULL_POLL);
        }
        self.readings.iter().for_each(tell_duplicates);
        self.client.consumer.unsubscribe();
        while began.elapsed() < LEAVE_LIMIT {
            let _ = self.client.consumer.poll(IDLE_POLL);
            if self.client.consumer.assignment().is_ok_and(|it| it.count() == 0) {
                break;
            }
        }
        // Their channels end.
        self.readings.clear();
    }
}

fn tell_duplicates(reading: &Reading) {
    let records = reading.duplicates();
    if records > 0 {
        tracing::info!(at = %reading.at(), records, "records that the topic has twice were applied once");
    }
}

fn is_fatal(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
}
