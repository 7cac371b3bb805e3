//! What people do, one file for each behaviour. One program, so that the scenarios of all files run side by side to the end.

mod chat;
mod echo;
mod faults;
mod looks;
mod people;
mod session;
