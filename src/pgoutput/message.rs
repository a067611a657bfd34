//! One message of the protocol and its layout.

use bytes::Bytes;

use crate::{
    change::{Before, Begin, Cell, Commit, Relation, RelationColumn, ReplicaIdentity, Tuple},
    lsn::Lsn,
};

use super::cursor::{Cursor, DecodeError, Malformed};

/// The minimal bytes of a relation's column: flags, an empty name, type and modifier.
const COLUMN_MIN_BYTES: usize = 1 + 1 + 4 + 4;
/// The minimal bytes of a cell: its kind.
const CELL_MIN_BYTES: usize = 1;
/// The bytes of an object id.
const OID_BYTES: usize = 4;

/// TRUNCATE's flags.
const TRUNCATE_CASCADE: u8 = 1;
const TRUNCATE_RESTART_IDENTITY: u8 = 2;

/// One message of protocol version 1. Rows name their relation by its object id.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A transaction begins.
    Begin(Begin),
    /// The open transaction ends.
    Commit(Commit),
    /// The origin of the open transaction: another server, which replicated it to this one.
    Origin {
        /// The position of its commit there.
        commit_lsn: Lsn,
        /// The other server's name.
        name: String,
    },
    /// Describes the rows of a table from here on.
    Relation(Relation),
    /// A type that is not built in.
    Type {
        /// Its object id.
        oid: u32,
        /// Its schema; `pg_catalog` for any domain.
        schema: String,
        /// Its name; a domain has its base type's name.
        name: String,
    },
    /// A row was inserted.
    Insert {
        /// The table.
        relation: u32,
        /// The row. It can hold [`Cell::Unchanged`]: the server sends an UPDATE that moves a row
        /// into a publication's row filter as an INSERT.
        new: Tuple,
    },
    /// A row was updated.
    Update {
        /// The table.
        relation: u32,
        /// The old row.
        before: Before,
        /// The new row.
        new: Tuple,
    },
    /// A row was deleted.
    Delete {
        /// The table.
        relation: u32,
        /// The old row; never [`Before::Absent`].
        before: Before,
    },
    /// Tables were emptied.
    Truncate {
        /// The tables.
        relations: Vec<u32>,
        /// The statement had CASCADE.
        cascade: bool,
        /// The statement had RESTART IDENTITY.
        restart_identity: bool,
    },
    /// `pg_logical_emit_message`.
    Logical {
        /// It belongs to the open transaction; otherwise to none.
        transactional: bool,
        /// Its position.
        lsn: Lsn,
        /// The prefix that its author chose.
        prefix: String,
        /// Its content.
        content: Bytes,
    },
}

impl Message {
    /// Decodes one message. Cells and content share the frame's memory.
    ///
    /// Does not check the text of cells: a database in SQL_ASCII can send any bytes.
    ///
    /// # Errors
    /// The bytes are not exactly one message; the error names the place.
    pub fn decode(frame: Bytes) -> Result<Message, DecodeError> {
        let mut cursor = Cursor::new(frame);
        let message = match cursor.u8("the message's type")? {
            b'B' => begin(&mut cursor),
            b'C' => commit(&mut cursor),
            b'O' => origin(&mut cursor),
            b'R' => relation(&mut cursor),
            b'Y' => type_(&mut cursor),
            b'I' => insert(&mut cursor),
            b'U' => update(&mut cursor),
            b'D' => delete(&mut cursor),
            b'T' => truncate(&mut cursor),
            b'M' => logical(&mut cursor),
            byte => Err(cursor.unknown("message type of protocol version 1", byte)),
        }?;
        cursor.end()?;
        Ok(message)
    }

    /// The message's name in PostgreSQL's documentation, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Begin(_) => "Begin",
            Message::Commit(_) => "Commit",
            Message::Origin { .. } => "Origin",
            Message::Relation(_) => "Relation",
            Message::Type { .. } => "Type",
            Message::Insert { .. } => "Insert",
            Message::Update { .. } => "Update",
            Message::Delete { .. } => "Delete",
            Message::Truncate { .. } => "Truncate",
            Message::Logical { .. } => "Message",
        }
    }
}

type Decoded = Result<Message, DecodeError>;

fn begin(cursor: &mut Cursor) -> Decoded {
    let commit_lsn = cursor.lsn("Begin's commit position")?;
    let committed_at = cursor.time("Begin's commit time")?;
    let xid = cursor.u32("Begin's transaction id")?;
    Ok(Message::Begin(Begin { xid, commit_lsn, committed_at, stamp: None }))
}

fn commit(cursor: &mut Cursor) -> Decoded {
    match cursor.u8("Commit's flags")? {
        0 => {}
        byte => return Err(cursor.unknown("set of Commit's flags", byte)),
    }
    let commit_lsn = cursor.lsn("Commit's position")?;
    let end_lsn = cursor.lsn("Commit's end position")?;
    let committed_at = cursor.time("Commit's time")?;
    Ok(Message::Commit(Commit { commit_lsn, end_lsn, source_lsn: end_lsn, committed_at }))
}

fn origin(cursor: &mut Cursor) -> Decoded {
    let commit_lsn = cursor.lsn("Origin's commit position")?;
    let name = cursor.string("Origin's name")?;
    Ok(Message::Origin { commit_lsn, name })
}

fn relation(cursor: &mut Cursor) -> Decoded {
    let oid = cursor.u32("Relation's id")?;
    let schema = cursor.schema("Relation's schema")?;
    let name = cursor.string("Relation's name")?;
    let replica_identity = match cursor.u8("Relation's replica identity")? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        byte => return Err(cursor.unknown("replica identity", byte)),
    };
    let count = cursor.count16("Relation's number of columns", COLUMN_MIN_BYTES)?;
    let columns = (0..count).map(|_| column(cursor)).collect::<Result<_, _>>()?;
    Ok(Message::Relation(Relation { oid, schema, name, replica_identity, columns, leaf: None }))
}

fn column(cursor: &mut Cursor) -> Result<RelationColumn, DecodeError> {
    Ok(RelationColumn {
        identity: cursor.flag("set of a column's flags")?,
        name: cursor.string("a column's name")?,
        type_oid: cursor.u32("a column's type")?,
        type_modifier: cursor.i32("a column's type modifier")?,
    })
}

fn type_(cursor: &mut Cursor) -> Decoded {
    let oid = cursor.u32("Type's id")?;
    let schema = cursor.schema("Type's schema")?;
    let name = cursor.string("Type's name")?;
    Ok(Message::Type { oid, schema, name })
}

fn insert(cursor: &mut Cursor) -> Decoded {
    let relation = cursor.u32("Insert's relation")?;
    match cursor.u8("Insert's kind of row")? {
        b'N' => Ok(Message::Insert { relation, new: tuple(cursor)? }),
        byte => Err(cursor.unknown("kind of row in an Insert", byte)),
    }
}

fn update(cursor: &mut Cursor) -> Decoded {
    let relation = cursor.u32("Update's relation")?;
    let before = match cursor.u8("Update's kind of row")? {
        b'N' => {
            return Ok(Message::Update { relation, before: Before::Absent, new: tuple(cursor)? });
        }
        b'K' => Before::Key(tuple(cursor)?),
        b'O' => Before::Full(tuple(cursor)?),
        byte => return Err(cursor.unknown("kind of row in an Update", byte)),
    };
    match cursor.u8("Update's kind of second row")? {
        b'N' => Ok(Message::Update { relation, before, new: tuple(cursor)? }),
        byte => Err(cursor.unknown("kind of second row in an Update", byte)),
    }
}

fn delete(cursor: &mut Cursor) -> Decoded {
    let relation = cursor.u32("Delete's relation")?;
    let before = match cursor.u8("Delete's kind of row")? {
        b'K' => Before::Key(tuple(cursor)?),
        b'O' => Before::Full(tuple(cursor)?),
        byte => return Err(cursor.unknown("kind of row in a Delete", byte)),
    };
    Ok(Message::Delete { relation, before })
}

fn tuple(cursor: &mut Cursor) -> Result<Tuple, DecodeError> {
    let count = cursor.count16("a row's number of columns", CELL_MIN_BYTES)?;
    // The iterator of a Result has no lower bound, so the row would grow step by step.
    let mut cells = Vec::with_capacity(count);
    for _ in 0..count {
        cells.push(cell(cursor)?);
    }
    Ok(cells.into_boxed_slice())
}

fn cell(cursor: &mut Cursor) -> Result<Cell, DecodeError> {
    match cursor.u8("a value's kind")? {
        b'n' => Ok(Cell::Null),
        b'u' => Ok(Cell::Unchanged),
        b't' => Ok(Cell::Text(cursor.sized("a value's length")?)),
        b'b' => Err(cursor.before(Malformed::Binary)),
        byte => Err(cursor.unknown("kind of value", byte)),
    }
}

fn truncate(cursor: &mut Cursor) -> Decoded {
    let count_at = cursor.offset();
    let count = cursor.u32("Truncate's number of relations")?;
    let flags = cursor.u8("Truncate's flags")?;
    if flags & !(TRUNCATE_CASCADE | TRUNCATE_RESTART_IDENTITY) != 0 {
        return Err(cursor.unknown("set of Truncate's flags", flags));
    }
    let field = "Truncate's number of relations";
    let count = cursor.fits(count_at, field, u64::from(count), OID_BYTES)?;
    let relations =
        (0..count).map(|_| cursor.u32("Truncate's relation")).collect::<Result<_, _>>()?;
    Ok(Message::Truncate {
        relations,
        cascade: flags & TRUNCATE_CASCADE != 0,
        restart_identity: flags & TRUNCATE_RESTART_IDENTITY != 0,
    })
}

fn logical(cursor: &mut Cursor) -> Decoded {
    Ok(Message::Logical {
        transactional: cursor.flag("set of Message's flags")?,
        lsn: cursor.lsn("Message's position")?,
        prefix: cursor.string("Message's prefix")?,
        content: cursor.sized("Message's length")?,
    })
}
