//! Where records stand in their transaction, as Debezium counts them.

use std::collections::HashMap;

use crate::lsn::Lsn;

use super::Place;
use super::fields::Fields;

/// Counts the records of the open transaction. Each transaction is met from its first change, so the
/// numbers are the same when it is published again.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    commit_lsn: Option<Lsn>,
    total: u64,
    /// Of each table, by object id.
    of_table: HashMap<u32, u64>,
}

/// A record's block `transaction`.
#[derive(Clone, Copy)]
pub(super) struct Order {
    xid: u32,
    commit_lsn: Lsn,
    total: u64,
    of_table: u64,
}

impl Orders {
    /// The numbers of the next record, which is of this table.
    pub fn next(&mut self, place: &Place, table: u32) -> Order {
        if self.commit_lsn != Some(place.commit_lsn) {
            *self = Orders { commit_lsn: Some(place.commit_lsn), ..Orders::default() };
        }
        self.total += 1;
        let of_table = self.of_table.entry(table).or_default();
        *of_table += 1;
        let (xid, commit_lsn) = (place.xid, place.commit_lsn);
        Order { xid, commit_lsn, total: self.total, of_table: *of_table }
    }
}

impl Order {
    pub fn write(self, out: &mut Vec<u8>) {
        let mut fields = Fields::open(out);
        fields.text("id", &format!("{}:{}", self.xid, self.commit_lsn.0));
        fields.number("total_order", self.total);
        fields.number("data_collection_order", self.of_table);
        fields.close();
    }
}
