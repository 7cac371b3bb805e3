//! What many servers hold: a model and a simulation that read the measured figures of [`crate::engines`].
//!
//! - [`costs`]: what one message, one delivery and one session cost, from the figures;
//! - [`size`]: how many cores and how much memory a number of connections needs;
//! - [`shards`]: how evenly rooms of very different load are spread over the nodes of a cluster;
//! - [`queue`]: how long messages wait for a Redis that has much to do;
//! - [`storm`]: how long it takes until clients are back after servers ended, with the real session of the client;
//! - [`page`]: the tables of docs/scaling.md and docs/operations.md.
//!
//! `cargo xtask scaling` writes the tables.

pub mod costs;
pub mod page;
pub mod queue;
pub mod shards;
pub mod size;
pub mod storm;
