//! A chat whose unsent messages are in memory, with the allocator of the page.

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

fn main() {
    talkback_frontends::chat(|builder| builder);
}
