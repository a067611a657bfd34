//! Connection URLs, TLS, authentication and pinned session settings.
