//! The server and the role that we log in as.

/// What the server and the role allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `server_version_num`.
    pub version: i32,
    /// `wal_level`.
    pub wal_level: String,
    /// Replication slots allowed, and how many there are.
    pub slots: (i32, i64),
    /// Walsenders allowed, and how many run.
    pub senders: (i32, i64),
    /// `wal_sender_timeout` in milliseconds; 0: never.
    pub sender_timeout_ms: i64,
    /// The database.
    pub database: String,
    /// The role.
    pub role: String,
    /// The role may replicate.
    pub may_replicate: bool,
    /// The role that Amazon RDS has in place of the attribute REPLICATION is there.
    pub has_rds_role: bool,
    /// The role may create publications in the database.
    pub may_create: bool,
    /// The server is a standby.
    pub in_recovery: bool,
    /// The file asks for a slot that standbys have, too.
    pub wants_failover: bool,
}

impl Server {
    /// Whether the log has what logical decoding needs, or gets it with the first logical slot:
    /// since PostgreSQL 19 that slot raises `effective_wal_level` from `replica` by itself.
    pub fn can_decode(&self) -> bool {
        match self.wal_level.as_str() {
            "logical" => true,
            "replica" => self.version >= 190_000,
            _ => false,
        }
    }
}

/// The oldest version that is supported.
const VERSION_MIN: i32 = 140_000;
/// The oldest version with failover slots.
const FAILOVER_MIN: i32 = 170_000;

/// Why the server or the role can not stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerRefusal {
    /// It is a standby.
    #[error("the source is a standby: {}", self.fix())]
    Standby,
    /// It is too old.
    #[error("the source is PostgreSQL {0}, and 14 is the oldest that is supported: {fix}", fix = self.fix())]
    Old(i32),
    /// Its log has not what is needed.
    #[error("wal_level is {0}: {fix}", fix = self.fix())]
    WalLevel(String),
    /// It has no failover slots.
    #[error(
        "source.failover: PostgreSQL {0} has no failover slots, and 17 is the first that has them: {fix}",
        fix = self.fix()
    )]
    NoFailover(i32),
    /// The role may not replicate.
    #[error("the role {role:?} may not replicate: {fix}")]
    MayNotReplicate {
        /// The role.
        role: String,
        /// The statement.
        fix: String,
    },
}

impl ServerRefusal {
    /// What to do: its text ends with it.
    pub fn fix(&self) -> String {
        match self {
            ServerRefusal::Standby => "connect to the primary".to_owned(),
            ServerRefusal::Old(_) => "upgrade it".to_owned(),
            ServerRefusal::WalLevel(_) => {
                "ALTER SYSTEM SET wal_level = logical, then restart the source".to_owned()
            }
            ServerRefusal::NoFailover(_) => "remove source.failover, or upgrade it".to_owned(),
            ServerRefusal::MayNotReplicate { fix, .. } => fix.clone(),
        }
    }
}

/// Everything about the server and the role that keeps them from streaming.
pub fn judge(server: &Server) -> Vec<ServerRefusal> {
    let mut found = Vec::new();
    if server.in_recovery {
        found.push(ServerRefusal::Standby);
    }
    if server.version < VERSION_MIN {
        found.push(ServerRefusal::Old(server.version / 10_000));
    }
    if server.wants_failover && server.version < FAILOVER_MIN {
        found.push(ServerRefusal::NoFailover(server.version / 10_000));
    }
    if !server.can_decode() {
        found.push(ServerRefusal::WalLevel(server.wal_level.clone()));
    }
    if !server.may_replicate {
        let role = crate::catalog::pasteable(&server.role);
        let fix = match server.has_rds_role {
            true => format!("GRANT rds_replication TO {role}"),
            false => format!("ALTER ROLE {role} REPLICATION"),
        };
        found.push(ServerRefusal::MayNotReplicate { role: server.role.clone(), fix });
    }
    found
}
