//! COPY of table chunks under a snapshot: the source's side of a copy lane.
//!
//! ```text
//! one lane takes a snapshot, the others join it -> COPY of ctid ranges -> ROLLBACK
//! ```
//!
//! The text form of COPY is the text form of the stream, so both go through one codec. A partitioned
//! table is read partition by partition, in its own name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio_postgres::Client;

use crate::{
    copy::{Chunk, Heap},
    graph::{Key, Pass, Row, TableIndex},
    lsn::Lsn,
    mapping::{Notice, Selection, Translator},
    pipeline::{ChunkReader, Search, Taken, Waiting},
};

use super::{
    equality::Equalities,
    error::ReadError,
    locks::{Beside, is_blocked},
    partitions::{Leaf, leaves},
    sessions::limit_waits,
    setup::running_transactions,
    snapshot::{self, Locked, position},
    sources::{Selected, Sources},
    text::{Cells, CopyText},
};

/// A transaction id that is given out now: once a snapshot's xmin has reached it, everything that
/// runs now has ended.
pub async fn current_xid(client: &Client) -> Result<u64, tokio_postgres::Error> {
    let row = client.query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}

/// For the rest of a transaction: some rows of a large table are read by its index, whatever their number.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
                        SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";

/// Reads chunks on a connection of its own.
pub struct CopyReader {
    client: Client,
    /// Its process on the server.
    process: i32,
    /// For everything that is done beside the transaction that holds the snapshot.
    beside: Arc<Beside>,
    sources: Sources,
    translator: Translator,
    table: TableIndex,
    /// The partitions that are locked.
    leaves: BTreeMap<u32, Leaf>,
    /// The equalities of keys that this transaction's locks keep as they are.
    equalities: BTreeMap<TableIndex, Equalities>,
    /// Tables whose keys' texts the server does not take for values of their types.
    no_text: BTreeSet<TableIndex>,
    /// Rows are being read by their keys' texts.
    is_by_text: bool,
    /// A transaction is open.
    is_open: bool,
    /// The server may be at work for us.
    is_busy: bool,
    reading: Option<Reading>,
    tell: TellNotices,
}

/// Rows on their way.
struct Reading {
    text: CopyText,
    selection: Selection,
}

/// Is told what the translation of rows met.
pub type TellNotices = Arc<dyn Fn(Vec<Notice>) + Send + Sync>;

impl CopyReader {
    /// A reader over a connection with pinned settings. All readers of a copy have the same beside
    /// them.
    pub async fn new(
        client: Client,
        beside: Arc<Beside>,
        sources: Sources,
        translator: Translator,
    ) -> Result<Self, tokio_postgres::Error> {
        limit_waits(&client).await?;
        Ok(CopyReader {
            process: beside.register(&client).await?,
            client,
            beside,
            sources,
            translator,
            table: TableIndex(0),
            leaves: BTreeMap::new(),
            equalities: BTreeMap::new(),
            no_text: BTreeSet::new(),
            is_by_text: false,
            is_open: false,
            is_busy: false,
            reading: None,
            tell: Arc::new(|_| {}),
        })
    }

    /// From now on, tells what the translation of rows meets.
    pub fn telling(self, tell: TellNotices) -> Self {
        CopyReader { tell, ..self }
    }

    fn tell_notices(&mut self) {
        let notices = self.translator.take_notices();
        if !notices.is_empty() {
            (self.tell)(notices);
        }
    }

    fn sql_error(&self) -> impl Fn(tokio_postgres::Error) -> ReadError + use<> {
        let table = self.sources.get(self.table).name.clone();
        move |source| ReadError::Sql { table: table.clone(), source }
    }

    /// Remembers it if the search by text is the cause.
    fn judged<T>(&mut self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        match read {
            Err(ReadError::Sql { table, source }) if self.is_by_text && is_no_text(&source) => {
                self.no_text.insert(self.table);
                Err(ReadError::NoText { table, source })
            }
            read => read,
        }
    }

    /// The partitions of the tables whose partitions are asked for.
    async fn look_at_partitions(&mut self, heaps: &[Heap]) -> Result<(), ReadError> {
        self.leaves.clear();
        let parts = heaps.iter().filter(|heap| heap.partition.is_some());
        let roots: BTreeSet<TableIndex> = parts.map(|heap| heap.table).collect();
        for root in roots {
            self.table = root;
            let found = leaves(&self.client, &self.sources.get(root).name).await;
            self.leaves.extend(found.map_err(self.sql_error())?);
        }
        Ok(())
    }

    /// How it is locked.
    fn locked(&self, heap: &Heap) -> Locked {
        let source = self.sources.get(heap.table);
        match heap.partition.and_then(|oid| Some((oid, self.leaves.get(&oid)?))) {
            None => Locked::table(&source.name, source.partitioned),
            Some((oid, leaf)) => {
                let lock = match (leaf.is_foreign, leaf.is_readable) {
                    (true, _) => None,
                    (false, true) => Some(format!("ONLY {}", leaf.name.sql())),
                    (false, false) => Some(source.from.clone()),
                };
                Locked { name: leaf.name.clone(), lock, oid: Some(oid) }
            }
        }
    }

    /// `FROM` and `WHERE` of its rows.
    fn from(&self, heap: &Heap) -> String {
        let source = self.sources.get(heap.table);
        match heap.partition.and_then(|oid| Some((oid, self.leaves.get(&oid)?))) {
            None => format!("{} WHERE true{}", source.from, source.filter),
            Some((_, leaf)) if leaf.is_readable => {
                format!("ONLY {} WHERE true{}", leaf.name.sql(), source.filter)
            }
            Some((oid, _)) => {
                format!("{} WHERE tableoid = {oid}{}", source.from, source.filter)
            }
        }
    }

    fn is_foreign(&self, heap: &Heap) -> bool {
        let leaf = heap.partition.and_then(|oid| self.leaves.get(&oid));
        leaf.is_some_and(|leaf| leaf.is_foreign)
    }

    /// Starts to read what a pass needs.
    async fn copy_out(&mut self, pass: Pass, from: &str) -> Result<(), ReadError> {
        let source = self.sources.get(self.table);
        let Selected { selection, names } = match pass {
            Pass::Nodes | Pass::Rows | Pass::Graph => &source.nodes,
            Pass::Relationships => &source.relationships,
        };
        let select = format!("SELECT {names} FROM {from}");
        let (name, columns) = (&source.name, selection.count());
        self.is_busy = true;
        let text = CopyText::start(&self.client, name, columns, &select).await?;
        self.reading = Some(Reading { text, selection: selection.clone() });
        Ok(())
    }

    /// `FROM` and `WHERE` of the rows that have one of the keys, by the equality of their index; `None` if
    /// one of them has no text form.
    async fn by_text(&mut self, keys: &[Key]) -> Result<Option<String>, ReadError> {
        let texts =
            keys.iter().map(|key| key.0.iter().map(|value| value.postgres_text()).collect());
        let Some(texts) = texts.collect::<Option<Vec<Vec<String>>>>() else { return Ok(None) };
        if !self.equalities.contains_key(&self.table) {
            let name = &self.sources.get(self.table).name;
            let equalities = Equalities::of(&self.client, name).await;
            let equalities = equalities.map_err(self.sql_error())?;
            self.client.batch_execute(BY_INDEX).await.map_err(self.sql_error())?;
            self.equalities.insert(self.table, equalities);
        }
        let (source, equalities) = (self.sources.get(self.table), &self.equalities[&self.table]);
        // A join would ask a foreign partition for one row after the other.
        let is_joined = source.key.len() > 1 && source.partitioned;
        let any = equalities.equals_any(&source.from, &source.key, &texts);
        if let Some(any) = any.filter(|_| !is_joined) {
            return Ok(Some(any));
        }
        let condition = texts.iter().map(|texts| {
            let columns = source.key.iter().zip(texts);
            let equal: Vec<_> =
                columns.map(|(column, text)| equalities.equals(column, text)).collect();
            format!("({})", equal.join(" AND "))
        });
        let condition: Vec<String> = condition.collect();
        Ok(Some(format!("{} WHERE ({})", source.from, condition.join(" OR "))))
    }

    /// The condition that a row is one of those with the keys, which are looked for among the keys of
    /// all rows: the graph's own equality decides, whatever the type.
    async fn among_all(&mut self, keys: &[Key]) -> Result<String, ReadError> {
        let wanted: BTreeSet<&Key> = keys.iter().collect();
        if !std::mem::take(&mut self.equalities).is_empty() {
            let all = self.client.batch_execute("SET LOCAL enable_seqscan = on").await;
            all.map_err(self.sql_error())?;
        }
        let source = self.sources.get(self.table).clone();
        let Selected { selection, names } = &source.relationships;
        let select = format!(
            "SELECT {names}, tableoid, ctid FROM {} WHERE true{}",
            source.from, source.filter
        );
        let mut text =
            CopyText::start(&self.client, &source.name, selection.count() + 2, &select).await?;
        let mut places = Vec::new();
        loop {
            let (translator, table) = (&mut self.translator, self.table);
            let row = |mut cells: Cells<'_>| {
                let place = cells.split_off(selection.count());
                let place = place.into_iter().map(|cell| match cell {
                    Some(cell) => String::from_utf8_lossy(&cell).into_owned(),
                    None => String::new(),
                });
                let place: Vec<String> = place.collect();
                Ok((translator.row_from_text(table, selection, &cells)?.0, place))
            };
            let rows = text.piece(row).await?;
            self.tell_notices();
            if rows.is_empty() {
                break;
            }
            places.extend(rows.into_iter().filter(|(key, _)| wanted.contains(key)));
        }
        let places = places.iter().map(|(_, place)| match place.as_slice() {
            [table, row] => format!("(tableoid = {table} AND ctid = '{row}'::pg_catalog.tid)"),
            _ => "false".to_owned(),
        });
        let places: Vec<String> = places.collect();
        Ok(if places.is_empty() {
            "false".to_owned()
        } else {
            format!("({})", places.join(" OR "))
        })
    }
}

/// The server takes a key's text for no value of its type, or knows no such equality.
fn is_no_text(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22") || code.code() == "42883")
}

impl ChunkReader for CopyReader {
    type Error = ReadError;

    async fn begin(&mut self, heaps: &[Heap]) -> Result<Taken, ReadError> {
        self.look_at_partitions(heaps).await?;
        let is_gone = |heap: &Heap| heap.partition.is_some_and(|it| !self.leaves.contains_key(&it));
        let (gone, there): (BTreeSet<Heap>, BTreeSet<Heap>) =
            heaps.iter().copied().partition(is_gone);
        let mut locked: Vec<Locked> = there.iter().map(|heap| self.locked(heap)).collect();
        if locked.is_empty() {
            // The snapshot says what the graph may forget, whatever is left to read.
            let root = self.sources.get(heaps[0].table);
            locked.push(Locked { name: root.name.clone(), lock: None, oid: None });
        }
        self.is_open = true;
        let snapshot::Taken { snapshot, name, files, .. } =
            snapshot::take(&self.client, &self.beside, &locked).await?;
        let mut had = BTreeMap::new();
        for ((heap, file), locked) in there.into_iter().zip(files).zip(&locked) {
            match file {
                Some(file) => drop(had.insert(heap, file)),
                None => {
                    let told = self.beside.tell_taken(&locked.name).await;
                    told.map_err(self.sql_error())?;
                }
            }
        }
        Ok(Taken { snapshot, name, files: had, gone })
    }

    async fn join(&mut self, taken: &Taken) -> Result<bool, ReadError> {
        let heaps: Vec<Heap> = taken.files.keys().copied().collect();
        self.look_at_partitions(&heaps).await?;
        let parts = heaps.iter().filter_map(|heap| heap.partition);
        if parts.into_iter().any(|partition| !self.leaves.contains_key(&partition)) {
            return Ok(false);
        }
        let locked: Vec<Locked> = heaps.iter().map(|heap| self.locked(heap)).collect();
        let joined = snapshot::join(&self.client, &taken.name, &locked).await;
        self.is_open = joined.map_err(self.sql_error())?;
        Ok(self.is_open)
    }

    async fn open(&mut self, heap: Heap, pass: Pass, chunk: Chunk) -> Result<(), ReadError> {
        (self.table, self.is_by_text) = (heap.table, false);
        let mut from = self.from(&heap);
        let is_whole = heap.partition.is_none() && self.sources.get(heap.table).partitioned;
        if !is_whole && !self.is_foreign(&heap) {
            from += &format!(" AND ctid >= '({},0)'::pg_catalog.tid", chunk.from_block);
            if let Some(end) = chunk.end_block {
                from += &format!(" AND ctid < '({end},0)'::pg_catalog.tid");
            }
        }
        self.copy_out(pass, &from).await
    }

    async fn rows(&mut self) -> Result<Option<Vec<(Key, Row)>>, ReadError> {
        let Some(Reading { text, selection }) = &mut self.reading else { return Ok(None) };
        let (translator, table) = (&mut self.translator, self.table);
        let row = |cells: Cells<'_>| Ok(translator.row_from_text(table, selection, &cells)?);
        let rows = text.piece(row).await;
        self.is_busy = !text.has_ended();
        self.tell_notices();
        let rows = self.judged(rows)?;
        Ok((!rows.is_empty()).then_some(rows))
    }

    async fn ends_before(&mut self, heap: Heap, block: u32) -> Result<bool, ReadError> {
        self.table = heap.table;
        let partition = heap.partition.and_then(|oid| self.leaves.get(&oid));
        let name = match (partition, self.sources.get(heap.table)) {
            (Some(leaf), _) if !leaf.is_foreign => &leaf.name,
            (None, source) if !source.partitioned => &source.name,
            _ => return Ok(true),
        };
        let sql = "SELECT pg_catalog.pg_relation_size($1::text::regclass) \
                   <= $2::int8 * pg_catalog.current_setting('block_size')::int8";
        self.is_busy = true;
        let row = self.client.query_one(sql, &[&name.sql(), &i64::from(block)]).await;
        self.is_busy = false;
        Ok(row.map_err(self.sql_error())?.get(0))
    }

    async fn open_keys(
        &mut self,
        table: TableIndex,
        keys: &[Key],
        search: Search,
    ) -> Result<(), ReadError> {
        self.table = table;
        (self.is_busy, self.is_by_text) = (true, false);
        let by_text = match search {
            Search::ByText if !self.no_text.contains(&table) => self.by_text(keys).await?,
            _ => None,
        };
        self.is_by_text = by_text.is_some();
        let from = match by_text {
            Some(from) => from,
            None => {
                let condition = self.among_all(keys).await?;
                format!("{} WHERE {condition}", self.sources.get(table).from)
            }
        };
        let from = format!("{from}{}", self.sources.get(table).filter);
        // Both passes write these rows: all of their columns.
        let opened = self.copy_out(Pass::Nodes, &from).await;
        self.judged(opened)
    }

    async fn release(&mut self) -> Result<(), ReadError> {
        self.reading = None;
        self.equalities.clear();
        if std::mem::take(&mut self.is_busy) {
            self.beside.cancel(self.process).await.map_err(self.sql_error())?;
        }
        if std::mem::take(&mut self.is_open) {
            self.client.batch_execute("ROLLBACK").await.map_err(self.sql_error())?;
        }
        Ok(())
    }

    fn wanted(&self) -> impl Future<Output = Result<Waiting, ReadError>> + Send + 'static {
        let (beside, sql_error) = (self.beside.clone(), self.sql_error());
        async move { beside.wanted().await.map_err(sql_error) }
    }

    fn tell_given_way(&self, to: &Waiting) {
        self.beside.tell_given_way(to);
    }

    fn is_for_now(error: &ReadError) -> bool {
        match error {
            ReadError::Sql { source, .. } => is_blocked(source),
            ReadError::NoText { .. } => true,
            _ => false,
        }
    }

    async fn partitions(&mut self, table: TableIndex) -> Result<BTreeMap<u32, u32>, ReadError> {
        self.table = table;
        if !self.sources.get(table).partitioned {
            return Ok(BTreeMap::new());
        }
        let found = leaves(&self.client, &self.sources.get(table).name).await;
        let found = found.map_err(self.sql_error())?;
        Ok(found.into_iter().map(|(oid, leaf)| (oid, leaf.file)).collect())
    }

    async fn tell_unseen(&mut self) -> Result<(), ReadError> {
        let running = running_transactions(self.beside.client()).await;
        let running = running.map_err(self.sql_error())?;
        tracing::info!(?running, "the copy waits for transactions to end");
        Ok(())
    }

    async fn log_end(&mut self) -> Result<Lsn, ReadError> {
        let function = "pg_catalog.pg_current_wal_insert_lsn()";
        let end = position(&self.client, function).await.map_err(self.sql_error())?;
        Ok(end.without_page_header())
    }
}
