//! Which topics there are: their identities and how many partitions they have.
//!
//! A topic that was deleted and made again has the same name and other records. Since KIP-516 a
//! broker gives each topic an id, which librdkafka tells of through DescribeTopics; rdkafka has no
//! binding for that, so librdkafka is called here directly.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    ptr::{self, NonNull},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    bindings::{
        rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new, rd_kafka_AdminOptions_set_broker,
        rd_kafka_AdminOptions_set_request_timeout, rd_kafka_DescribeTopics,
        rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
        rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error,
        rd_kafka_TopicDescription_name, rd_kafka_TopicDescription_partitions,
        rd_kafka_TopicDescription_t, rd_kafka_TopicDescription_topic_id,
        rd_kafka_Uuid_least_significant_bits, rd_kafka_Uuid_most_significant_bits,
        rd_kafka_admin_op_t, rd_kafka_error_code, rd_kafka_event_DescribeTopics_result,
        rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_queue_destroy, rd_kafka_queue_new,
        rd_kafka_queue_poll,
    },
    client::Client,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    types::RDKafkaRespErr,
};

use crate::checkpoint::TopicId;

/// How much longer the answer is waited for than librdkafka waits for the broker's.
const MARGIN: Duration = Duration::from_secs(1);

/// A topic that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Which one it is; `None` from brokers before Kafka 2.8, and from others that give no ids.
    pub id: Option<TopicId>,
    /// How many partitions it has.
    pub partitions: u32,
}

/// What librdkafka made for us, until it is dropped.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> KafkaResult<Self> {
        let pointer = NonNull::new(pointer).ok_or(KafkaError::AdminOp(Code::Fail))?;
        Ok(Owned { pointer, destroy })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: librdkafka gave the pointer for this function to free it, which happens here only.
        #[allow(unsafe_code)]
        unsafe {
            (self.destroy)(self.pointer.as_ptr());
        }
    }
}

/// Asks a broker for the topics of these names. Those that are not there are left out. Blocks for
/// `limit` and a little more at most.
///
/// Unless it is told which broker to ask, librdkafka asks the controller that it knows. If that one
/// is dead, it spins until the limit, and learns of no other one: a client that reads no topic asks
/// for metadata every few minutes only. So metadata comes first, and its broker is asked.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    limit: Duration,
) -> KafkaResult<BTreeMap<String, Described>> {
    let Some(first) = names.first() else { return Ok(BTreeMap::new()) };
    let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let began = Instant::now();
    let mut broker = client.fetch_metadata(Some(first), limit)?.orig_broker_id();
    if broker < 0 {
        // The first answer tells which number belongs to the address.
        let left = limit.saturating_sub(began.elapsed());
        broker = client.fetch_metadata(Some(first), left)?.orig_broker_id();
    }
    let limit = limit.saturating_sub(began.elapsed());
    let names: Vec<CString> = names.iter().filter_map(|name| CString::new(*name).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the client lives longer than this function. `names` live while librdkafka copies
    // them. Each object is freed once, in the reverse order of its making, by `Owned`. The answer's
    // parts belong to the event, which lives until they are read.
    #[allow(unsafe_code)]
    unsafe {
        let kafka = client.native_ptr();
        let topics = rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let topics = Owned::new(topics, rd_kafka_TopicCollection_destroy)?;
        let options =
            rd_kafka_AdminOptions_new(kafka, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let options = Owned::new(options, rd_kafka_AdminOptions_destroy)?;
        // A limit that it does not take leaves its own, of a minute.
        rd_kafka_AdminOptions_set_request_timeout(
            options.pointer.as_ptr(),
            millis(limit),
            ptr::null_mut(),
            0,
        );
        // One that is only known by its address has no number yet. Then the controller is asked,
        // which that broker has just named.
        if broker >= 0 {
            rd_kafka_AdminOptions_set_broker(options.pointer.as_ptr(), broker, ptr::null_mut(), 0);
        }
        let queue = Owned::new(rd_kafka_queue_new(kafka), rd_kafka_queue_destroy)?;
        rd_kafka_DescribeTopics(
            kafka,
            topics.pointer.as_ptr(),
            options.pointer.as_ptr(),
            queue.pointer.as_ptr(),
        );
        let event = rd_kafka_queue_poll(queue.pointer.as_ptr(), millis(limit + MARGIN));
        let event =
            NonNull::new(event).ok_or(KafkaError::MetadataFetch(Code::OperationTimedOut))?;
        let event = Owned { pointer: event, destroy: rd_kafka_event_destroy };
        check(rd_kafka_event_error(event.pointer.as_ptr()))?;
        let answer = rd_kafka_event_DescribeTopics_result(event.pointer.as_ptr());
        let mut count = 0;
        let found = rd_kafka_DescribeTopics_result_topics(answer, &mut count);
        let mut described = BTreeMap::new();
        for index in 0..count {
            described.extend(read(*found.add(index))?);
        }
        Ok(described)
    }
}

/// One topic of an answer; `None` if it is not there.
///
/// # Safety
/// The description is librdkafka's, and its event lives.
#[allow(unsafe_code)]
unsafe fn read(
    topic: *const rd_kafka_TopicDescription_t,
) -> KafkaResult<Option<(String, Described)>> {
    // SAFETY: the caller's.
    unsafe {
        match rd_kafka_error_code(rd_kafka_TopicDescription_error(topic)) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC => return Ok(None),
            code => check(code)?,
        }
        let name = CStr::from_ptr(rd_kafka_TopicDescription_name(topic));
        let mut partitions = 0;
        rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let id = rd_kafka_TopicDescription_topic_id(topic);
        let half = |bits: i64| u128::from(bits.cast_unsigned());
        let id = (!id.is_null()).then(|| {
            (half(rd_kafka_Uuid_most_significant_bits(id)) << 64)
                | half(rd_kafka_Uuid_least_significant_bits(id))
        });
        let id = id.filter(|id| *id != 0).map(TopicId);
        let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
        Ok(Some((name.to_string_lossy().into_owned(), Described { id, partitions })))
    }
}

fn check(code: RDKafkaRespErr) -> KafkaResult<()> {
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        // The question is one for metadata, and rdkafka tells the code of these errors only.
        code => Err(KafkaError::MetadataFetch(code.into())),
    }
}
