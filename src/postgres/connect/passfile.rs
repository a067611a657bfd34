//! libpq's password file: `host:port:database:user:password`, the first match counts.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Once};

/// The fields that a line must match.
pub struct Login<'a> {
    /// The host's name in the file; `localhost` for the usual socket directories.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: &'a str,
    /// The user.
    pub user: &'a str,
}

/// The password of the first matching line. The error tells why the file is not used, for example
/// because others may read it.
pub fn password(path: &Path, login: &Login<'_>) -> Result<Option<String>, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| format!("{shown}: {error}");
    let facts = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        facts => facts.map_err(unreadable)?,
    };
    if !facts.is_file() {
        return Err(format!("{shown} is not used: it is no plain file"));
    }
    if others_may_read(&facts) {
        return Err(not_used(path));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    Ok(find(&text, login))
}

/// Warns once that the file will not be used, as libpq does, even if the server asks for no
/// password.
pub fn warn_of_readers(path: &Path) {
    static SAID: Once = Once::new();
    let is_readable = |facts: &fs::Metadata| facts.is_file() && others_may_read(facts);
    if fs::metadata(path).is_ok_and(|facts| is_readable(&facts)) {
        SAID.call_once(|| tracing::warn!("{}", not_used(path)));
    }
}

fn others_may_read(facts: &fs::Metadata) -> bool {
    facts.permissions().mode() & 0o077 != 0
}

fn not_used(path: &Path) -> String {
    let shown = path.display();
    format!("{shown} is not used, since others may read it: chmod 0600 {shown}")
}

fn find(text: &str, login: &Login<'_>) -> Option<String> {
    let port = login.port.to_string();
    let wanted = [login.host, &port, login.database, login.user];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let (password, _) = field(lines.filter_map(|line| after(line, wanted)).next()?);
    (!password.is_empty()).then_some(password)
}

/// The rest of a line after these fields, if it has them.
fn after<'a>(line: &'a str, wanted: [&str; 4]) -> Option<&'a str> {
    wanted.iter().try_fold(line, |rest, wanted| match rest.strip_prefix("*:") {
        Some(rest) => Some(rest),
        None => Some(field(rest)).filter(|(found, _)| found == wanted).map(|(_, rest)| rest),
    })
}

/// Splits a field off at the next colon, with `\:` and `\\` decoded. Returns it and the rest.
fn field(text: &str) -> (String, &str) {
    let mut field = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => break,
            '\\' => field.extend(characters.next()),
            other => field.push(other),
        }
    }
    (field, characters.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Login, find};

    const FILE: &str = "# db:*:*:*:comment\nshort:1\n\ndb:5432:shop:cdc:first\ndb:*:*:cdc:second\r\n\
        \\::*:a\\:b:*:p\\:a\\\\ss:rest\n*:*:*:empty:\n\\*:*:*:*:star\n*:*:*:*:any";

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        for (host, port, database, user, password) in [
            ("db", 5432, "shop", "cdc", "first"),
            ("db", 5433, "shop", "cdc", "second"),
            (":", 1, "a:b", "x", "p:a\\ss"),
            ("*", 1, "d", "u", "star"),
            ("h", 1, "d", "u", "any"),
        ] {
            let login = Login { host, port, database, user };
            assert_eq!(
                find(FILE, &login).as_deref(),
                Some(password),
                "{host}:{port}:{database}:{user}"
            );
        }
        let login = |user| Login { host: "h", port: 1, database: "d", user };
        assert_eq!(find(FILE, &login("empty")), None, "it has no password");
        assert_eq!(find("h:1:d:other:p\nh:1:d", &login("u")), None);
    }
}
