use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one: a connection takes up to two, and the usual soft limit is for
/// programs that call `select`.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}
