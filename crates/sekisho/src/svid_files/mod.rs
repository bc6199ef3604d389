//! An X.509-SVID as files, for programs that read certificates from files (`sekisho svid watch`, `sekisho exec`).
//!
//! The agent attests the process that calls it, which is `sekisho` itself: who may read the files has the identity.

pub(crate) mod folder;
pub(crate) mod follow;
pub(crate) mod material;
pub(crate) mod on_change;
mod safe_path;
pub(crate) mod signals;
pub(crate) mod writer;
