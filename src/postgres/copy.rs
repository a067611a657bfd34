//! COPY of table chunks under a snapshot.
