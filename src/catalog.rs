//! What a PostgreSQL catalog says about tables: the facts a mapping is inferred from.
