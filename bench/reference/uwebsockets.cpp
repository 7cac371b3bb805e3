// An echo and a broadcast with uWebSockets' own C++ interface, without TLS and compression.
// Prints `listening on http://ADDRESS` like the other servers.

#include <cstdio>

#include "App.h"

struct Nothing {};

int main() {
    uWS::App::WebSocketBehavior<Nothing> echo = {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 64 * 1024,
        .message = [](auto *socket, std::string_view message, uWS::OpCode code) { socket->send(message, code); },
    };

    uWS::App app;
    uWS::App::WebSocketBehavior<Nothing> room = {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 64 * 1024,
        .open = [](auto *socket) { socket->subscribe("room"); },
        .message = [&app](auto *, std::string_view message, uWS::OpCode code) { app.publish("room", message, code); },
    };

    app.ws<Nothing>("/echo", std::move(echo))
        .ws<Nothing>("/chat/*", std::move(room))
        .listen("127.0.0.1", 0, [](auto *socket) {
            if (!socket) {
                std::fputs("cannot listen\n", stderr);
                return;
            }
            std::printf("listening on http://127.0.0.1:%d\n",
                us_socket_local_port(0, reinterpret_cast<us_socket_t *>(socket)));
            std::fflush(stdout);
        })
        .run();
}
