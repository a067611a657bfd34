//! Logical messages, as Debezium writes them.
//!
//! They have no place among the events of their transaction, and do not name its end: who reads changes by
//! their places finds these as they are without messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::Record;
use super::super::fields::Fields;
use super::{Encoder, Meta, millis};

/// What stands for the table of messages where records are counted by table: no table has this object id.
const NO_TABLE: u32 = 0;

impl Encoder {
    /// The record of a message; `meta` is the transaction's.
    pub(super) fn message(&mut self, prefix: &str, content: &[u8], meta: Meta<'_>) -> Record {
        let order = meta.place.map(|place| self.orders.next(place, NO_TABLE));
        let meta = Meta { op: 'm', is_last: false, ..meta };
        let [around_key, around_value] = &self.message_frames;
        let key = around_key.around(|out| {
            let mut fields = Fields::open(out);
            fields.text("prefix", prefix);
            fields.close();
        });
        let value = around_value.around(|out| {
            let mut fields = Fields::open(out);
            fields.text("op", "m");
            fields.number("ts_ms", millis(meta.now));
            self.write_source(None, meta, fields.name("source"));
            match order {
                Some(order) => order.write(fields.name("transaction")),
                None => fields.null("transaction"),
            }
            let mut message = Fields::open(fields.name("message"));
            message.text("prefix", prefix);
            message.text("content", &BASE64.encode(content));
            message.close();
            fields.close();
        });
        Record { key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
    }
}
