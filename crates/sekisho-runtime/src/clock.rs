use std::time::{SystemTime, UNIX_EPOCH};

use sekisho_types::UnixTime;

/// The time of day. Rules never call this: they are given its result.
pub fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
