//! What users do, one file for each behaviour. One program, so that the scenarios of all files run in parallel. They
//! run in the order of their names, and the longest are not among the last.

mod chat;
mod delivery;
mod echo;
mod faults;
mod isolation;
mod looks;
mod people;
mod trace;
