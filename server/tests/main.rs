//! The tests of the server over real sockets, in one program: linking a program for each file takes longer than all of
//! the tests.

mod addresses;
mod answers;
mod assets;
mod binary;
mod chat;
mod echo;
mod handler;
mod handshake;
mod lifecycle;
mod load;
mod promises;
mod rooms;
mod session;
mod session_faults;
mod session_load;
mod stalls;
mod support;
mod violations;
