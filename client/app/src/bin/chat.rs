//! The binary of the chat view; everything is in the library, so that its tests run natively.

/// A tenth of the code of the standard library's allocator.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

fn main() {
    talkback_app::run_chat();
}
