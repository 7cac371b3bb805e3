//! Which functions run: for `cargo xtask profile`.

use anyhow::Context;
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, GlobalSection, GlobalType, Instruction, Module,
    ValType,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::Parser;

use super::{binary::Binary, names, regions};

/// The beginning of the names of the exported globals, which are 1 when their function has run: the number of the function, its shape and its name
/// follow.
pub(crate) const RAN: &str = "ran ";
/// The same for regions of functions: the numbers of the function and of the region follow.
pub(crate) const REACHED: &str = "at ";
/// The object of the page with the exports of each binary.
pub(crate) const PROFILE: &str = "talkbackProfile";

/// The binary with a mark for each function and each region of it.
pub(crate) fn instrument(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let binary = Binary::parse(bytes)?;
    let codes = regions::all(bytes, &binary)?;
    let mut next = u32::try_from(binary.globals.len())?;
    let mut marks = Vec::new();
    let mut code = CodeSection::new();
    for ((number, own), body) in codes.iter().enumerate().zip(&binary.bodies) {
        let function = u32::try_from(binary.imported_functions + number)?;
        let name = names::stable(binary.names.get(&function).copied().unwrap_or_default());
        let mut marked: Function = RoundtripReencoder.new_function_with_parsed_locals(body)?;
        let mut mark = |marked: &mut Function, name: String| {
            marked
                .instruction(&Instruction::I32Const(1))
                .instruction(&Instruction::GlobalSet(next));
            marks.push((next, name));
            next += 1;
        };
        mark(&mut marked, format!("{RAN}{number} {:08x} {name}", own.shape));
        let mut regions = own.regions.iter().enumerate().peekable();
        for (index, operator) in own.operators.iter().enumerate() {
            if let Some((region, _)) = regions.next_if(|(_, region)| region.start == index) {
                mark(&mut marked, format!("{REACHED}{number} {region}"));
            }
            marked.instruction(&RoundtripReencoder.instruction(operator.clone())?);
        }
        code.function(&marked);
    }
    let mut module = Module::new();
    let mut instrument = Instrument {
        marks,
        code: Some(code),
    };
    instrument
        .parse_core_module(&mut module, Parser::new(0), bytes)
        .context("cannot instrument it")?;
    Ok(module.finish())
}

struct Instrument {
    /// The global and the exported name of each mark.
    marks: Vec<(u32, String)>,
    code: Option<CodeSection>,
}

impl Reencode for Instrument {
    type Error = std::convert::Infallible;

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error> {
        for global in section {
            self.parse_global(globals, global?)?;
        }
        let flag = GlobalType {
            val_type: ValType::I32,
            mutable: true,
            shared: false,
        };
        for _ in &self.marks {
            globals.global(flag, &ConstExpr::i32_const(0));
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error> {
        for export in section {
            self.parse_export(exports, export?)?;
        }
        for (global, name) in &self.marks {
            exports.export(name, ExportKind::Global, *global);
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        _: wasmparser::FunctionBody<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error> {
        if let Some(all) = self.code.take() {
            *code = all;
        }
        Ok(())
    }
}
