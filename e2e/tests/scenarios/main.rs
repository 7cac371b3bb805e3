//! What users do, one file for each behaviour. One program, so that the scenarios of all files run in parallel. They
//! run in the order of their names, and the longest are not among the last.

mod accessibility;
mod bar;
mod chat;
mod clipboard;
mod composer;
mod delivery;
mod durable;
mod echo;
mod errors;
mod faults;
mod fields;
mod files;
mod first_visit;
mod history;
mod isolation;
mod log;
mod looks;
mod messages;
mod offline;
mod people;
mod rooms;
mod saved;
mod servers;
mod tabs;
mod trace;
mod workbench;
