//! libpq's service files: parameters under a name.
//!
//! ```text
//! [shop]            PGSERVICEFILE, else ~/.pg_service.conf; where that has no such service,
//! host=db           pg_service.conf in PGSYSCONFDIR, else where packages of libpq look for it
//! dbname=shop
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::environment::{Environment, home};
use super::uri::Pairs;

/// The directories of libpq's packages: Debian's, Red Hat's, Alpine's, and a build from source.
const SYSTEM_FOLDERS: [&str; 4] =
    ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc/postgresql", "/usr/local/pgsql/etc"];

/// The parameters of a service, and the file that has it. An error names the service or the file's
/// line, and no value.
pub fn read(name: &str, environment: Environment<'_>) -> Result<(Pairs, PathBuf), String> {
    let mut looked_at = Vec::new();
    for (path, must_exist) in files(environment) {
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => continue,
            text => text.map_err(|error| format!("{}: {error}", path.display()))?,
        };
        let found = find(&text, name);
        match found.map_err(|error| format!("{}{error}", path.display()))? {
            Some(pairs) => return Ok((pairs, path)),
            None => looked_at.push(path.display().to_string()),
        }
    }
    let looked_at = match looked_at.is_empty() {
        true => "there is no service file: name one with PGSERVICEFILE".to_owned(),
        false => format!("it is not in {}", looked_at.join(" or ")),
    };
    Err(format!("the service {name:?}: {looked_at}"))
}

/// The files in the order of the search, and whether a missing one is an error.
fn files(environment: Environment<'_>) -> Vec<(PathBuf, bool)> {
    let own = match environment("PGSERVICEFILE") {
        Some(path) => Some((PathBuf::from(path), true)),
        None => home(environment).map(|home| (home.join(".pg_service.conf"), false)),
    };
    let folders = match environment("PGSYSCONFDIR") {
        Some(folder) => vec![folder],
        None => SYSTEM_FOLDERS.map(str::to_owned).to_vec(),
    };
    let system = folders.iter().map(|folder| (Path::new(folder).join("pg_service.conf"), false));
    own.into_iter().chain(system).collect()
}

/// The lines of the service's first section.
fn find(text: &str, name: &str) -> Result<Option<Pairs>, String> {
    let mut found: Option<Pairs> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(group) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            let is_it = group.strip_prefix(name).is_some_and(|rest| rest.starts_with(']'));
            found = is_it.then(Vec::new);
            continue;
        }
        let Some(pairs) = &mut found else { continue };
        if line.starts_with("ldap") && line.contains("://") {
            return Err(format!(":{number}: services from LDAP are not supported"));
        }
        match line.split_once('=') {
            None => return Err(format!(":{number}: the line has no =")),
            Some(("service" | "servicefile", _)) => {
                return Err(format!(":{number}: a service can not name another one"));
            }
            // The first one counts, as in libpq.
            Some((name, _)) if pairs.iter().any(|(known, _)| known == name) => {}
            Some((name, value)) => pairs.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::find;

    const FILE: &str = "# services\nhost=before\n[other]\nhost=o\nbroken\n\n[shop]\n host=db\n# port\nport=7\n\
        port=8\npassword=a=b\n[shop]\nport=9\n[wrong]\nhost\n[nested]\nservice=shop\n[ldap]\nldap://h/x\n";

    #[test]
    fn a_service_is_its_first_group() {
        let pairs = find(FILE, "shop").unwrap().unwrap();
        let expected = [("host", "db"), ("port", "7"), ("password", "a=b")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(find(FILE, "none").unwrap(), None);
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_line() {
        for (name, error) in
            [("wrong", ":16: "), ("nested", ":18: "), ("ldap", ":20: "), ("other", ":5: ")]
        {
            assert!(find(FILE, name).unwrap_err().starts_with(error), "{name}");
        }
    }
}
