//! Records of tables that are not as the catalog has them.
//!
//! ```text
//! of a paused table                                     not read
//! committed behind the look at the catalog, and
//!   its table has another name, or other columns        the catalog is to be looked at again
//! of a table that is compared, and not to be read       passed over
//! anything else                                         read, by the names of the columns
//! ```
//!
//! A record says names and no types. A change of types alone is seen by a look, or where a value is none of the new
//! type. A table whose types have changed is compared with the graph, so records from before that may be passed over.

use std::collections::BTreeSet;

use crate::catalog::TableName;
use crate::lsn::Lsn;

use super::super::Decoded;
use super::super::join::Next;
use super::super::json::{Json, Object, Problem};
use super::super::source::Block;
use super::{DecodeError, Decoder, Record, Writer, error};

impl Decoder {
    /// The table that a record is of. It may have another name now than when the record was made, for a moment or for
    /// good, and another table may have its name.
    pub(super) fn table_of(&self, block: &Block<'_>, schema: &str, name: &str) -> Option<usize> {
        let cluster = self.expected.cluster.as_deref();
        let is_from = block.source.history.as_ref().map(|it| it.system_identifier.as_str());
        match block.relid.filter(|_| cluster.is_some() && cluster == is_from) {
            // A table that was dropped has no successor, whatever has its name.
            Some(relid) => self.by_oid.get(&relid).copied(),
            None => self.table(schema, name),
        }
    }

    /// The same without the rows of these tables. Their records are not read: they may be of columns that the catalog
    /// does not have.
    #[must_use]
    pub fn passing_over<'a>(mut self, tables: impl IntoIterator<Item = &'a TableName>) -> Decoder {
        let indices = tables.into_iter().filter_map(|it| self.table(&it.schema, &it.name));
        self.passed_over = indices.collect();
        self
    }

    /// The same of a catalog that was looked at where the source's log was at `from`, for records of these tables.
    #[must_use]
    pub fn as_catalog_from<'a>(
        mut self,
        from: Lsn,
        tables: impl IntoIterator<Item = &'a TableName>,
    ) -> Decoder {
        let indices = tables.into_iter().filter_map(|it| self.table(&it.schema, &it.name));
        self.as_catalog = (indices.collect(), from);
        self
    }

    /// The same where these tables, by object id, are still to be compared with the graph. What an earlier record of
    /// theirs can not say as the catalog has it, that brings.
    #[must_use]
    pub fn comparing(mut self, tables: &BTreeSet<u32>) -> Decoder {
        self.compared = tables.iter().filter_map(|oid| self.by_oid.get(oid).copied()).collect();
        self
    }

    /// A row's record, as far as it is of a table as the catalog has it.
    pub(super) fn row_of_table(
        &mut self,
        op: &str,
        block: Block<'_>,
        object: &Object<'_>,
        writer: Writer,
        record: &Record,
        root: &'static str,
    ) -> Result<Next, DecodeError> {
        let at = |problem: Problem| error("value", root, problem.within("source"));
        let (schema, table) = block.table().map_err(at)?;
        let Some(index) = self.table_of(&block, schema, table) else {
            let (schema, table) = (schema.to_owned(), table.to_owned());
            return Ok(Next::Alone(Decoded::Foreign { source: block.source, schema, table }));
        };
        if self.passed_over.contains(&index) {
            return Ok(Next::Alone(Decoded::PassedOver { source: block.source }));
        }
        let relation = self.tables[index].relation.clone();
        let is_it = block.relid == Some(relation.oid);
        let committed = block.source.place.as_ref().map(|place| place.commit_lsn);
        let committed = committed.or(block.source.lsn);
        let (followed, from) = &self.as_catalog;
        let is_behind = is_it && committed >= Some(*from) && followed.contains(&index);
        let reshaped = || {
            let table = TableName::new(&relation.schema, &relation.name);
            Next::Alone(Decoded::Reshaped { table })
        };
        let is_named = (schema, table) == (&*relation.schema, &*relation.name);
        if is_behind && !(is_named && self.has_columns(index, object)) {
            return Ok(reshaped());
        }
        let of_compared = is_it && self.compared.contains(&index);
        let passed = of_compared.then(|| block.source.clone());
        let read = self.row((index, op), block, object, writer, record, root);
        match (read, passed) {
            (Err(error), _) if is_behind && is_of_values(&error) => Ok(reshaped()),
            (Err(error), Some(source)) if is_of_values(&error) => {
                Ok(Next::Alone(Decoded::PassedOver { source }))
            }
            (read, _) => read,
        }
    }

    /// The row that a record brings has the columns of its table.
    fn has_columns(&self, index: usize, record: &Object<'_>) -> bool {
        let table = &self.tables[index];
        // What is wrong with the record is found when it is read.
        let Ok(Some(row)) = record.read("after", Json::object) else { return true };
        let (mut known, mut likely) = (0, 0);
        for (name, _) in &row.0 {
            match table.position(name, likely) {
                Some(place) => (known, likely) = (known + 1, place + 1),
                None if table.not_sent.contains(&**name) => {}
                None => return false,
            }
        }
        known == table.columns.len()
    }
}

/// A value of the row is none of its column.
fn is_of_values(error: &DecodeError) -> bool {
    error.part == "value" && (error.path.contains(".after.") || error.path.contains(".before."))
}
