//! The firmware's event log: what a machine measured while it booted, and what that makes of its PCRs; what an image
//! will measure; and which boots a policy admits.

mod appraise;
mod describe;
mod facts;
mod initramfs;
mod log;
mod pe;
mod policy;
mod predict;
mod replay;

pub use appraise::{AdmittedBoot, BootRefusal, Difference, Quoted};
pub use facts::{BootFacts, measured_command_line};
pub use initramfs::PackedFile;
pub use log::{Event, EventLog, Format};
pub use policy::{AdmittedImage, BootPolicy, BootPolicyError, ExpectedEvent};
pub use predict::{PredictError, PredictedEvent, Prediction};
pub use replay::ReplayError;

#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;
