//! The handlers of the URL map, one file for each endpoint.

pub(crate) mod addressed;
pub(crate) mod admin;
pub(crate) mod assets;
pub(crate) mod chat;
pub(crate) mod echo;
pub(crate) mod flood;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod once;
pub(crate) mod rooms;
pub(crate) mod session;
