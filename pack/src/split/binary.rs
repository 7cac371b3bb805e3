//! The parts of a binary that splitting needs: <https://webassembly.github.io/spec/core/binary/modules.html>.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{
    Element, Export, FuncType, FunctionBody, Global, Import, KnownCustom, Name, Operator, Parser, Payload, TypeRef,
};

/// A binary, as it was read.
pub(crate) struct Binary<'a> {
    pub(crate) types: Vec<FuncType>,
    pub(crate) imports: Vec<Import<'a>>,
    /// The type of each function; imported functions come first.
    pub(crate) functions: Vec<u32>,
    pub(crate) imported_functions: usize,
    pub(crate) tables: Vec<wasmparser::Table<'a>>,
    pub(crate) memories: Vec<wasmparser::MemoryType>,
    pub(crate) globals: Vec<Global<'a>>,
    pub(crate) exports: Vec<Export<'a>>,
    pub(crate) start: Option<u32>,
    pub(crate) elements: Vec<Element<'a>>,
    /// The code of each function that is not imported.
    pub(crate) bodies: Vec<FunctionBody<'a>>,
    data_count: Option<u32>,
    pub(crate) data: Option<&'a [u8]>,
    /// By the index of the function.
    pub(crate) names: BTreeMap<u32, &'a str>,
    /// Which features of WebAssembly it uses: wasm-opt reads it.
    features: Option<&'a [u8]>,
}

impl<'a> Binary<'a> {
    /// Reads a binary.
    ///
    /// # Errors
    /// It has what the Rust compiler does not make for the page: imports of other things than functions, tags, types of garbage
    /// collection.
    pub(crate) fn parse(bytes: &'a [u8]) -> anyhow::Result<Self> {
        let mut binary = Self {
            types: Vec::new(),
            imports: Vec::new(),
            functions: Vec::new(),
            imported_functions: 0,
            tables: Vec::new(),
            memories: Vec::new(),
            globals: Vec::new(),
            exports: Vec::new(),
            start: None,
            elements: Vec::new(),
            bodies: Vec::new(),
            data_count: None,
            data: None,
            names: BTreeMap::new(),
            features: None,
        };
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(types) => {
                    binary.types = types.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        let TypeRef::Func(ty) = import.ty else {
                            bail!("it imports {}, which is not a function", import.name);
                        };
                        binary.functions.push(ty);
                        binary.imports.push(import);
                    }
                    binary.imported_functions = binary.functions.len();
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        binary.functions.push(ty?);
                    }
                }
                Payload::TableSection(tables) => binary.tables = tables.into_iter().collect::<Result<_, _>>()?,
                Payload::MemorySection(memories) => binary.memories = memories.into_iter().collect::<Result<_, _>>()?,
                Payload::GlobalSection(globals) => binary.globals = globals.into_iter().collect::<Result<_, _>>()?,
                Payload::ExportSection(exports) => binary.exports = exports.into_iter().collect::<Result<_, _>>()?,
                Payload::StartSection { func, .. } => binary.start = Some(func),
                Payload::ElementSection(elements) => {
                    binary.elements = elements.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::DataCountSection { count, .. } => binary.data_count = Some(count),
                Payload::DataSection(data) => {
                    let range = data.range();
                    let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
                    binary.data = bytes.get(range);
                }
                Payload::CodeSectionEntry(body) => binary.bodies.push(body),
                Payload::CustomSection(section) => {
                    if section.name() == "target_features" {
                        binary.features = Some(section.data());
                    } else if let KnownCustom::Name(names) = section.as_known() {
                        for part in names {
                            if let Name::Function(names) = part? {
                                for name in names {
                                    let name = name?;
                                    binary.names.insert(name.index, name.name);
                                }
                            }
                        }
                    }
                }
                Payload::Version { .. } | Payload::CodeSectionStart { .. } | Payload::End(_) => {}
                other => bail!("it has a section that cannot be split: {other:?}"),
            }
        }
        Ok(binary)
    }

    /// The code of a function; none of one that is imported.
    pub(crate) fn body(&self, function: u32) -> Option<&FunctionBody<'a>> {
        self.bodies
            .get(usize::try_from(function).ok()?.checked_sub(self.imported_functions)?)
    }

    /// The type of a function, as an index.
    pub(crate) fn function_type(&self, function: u32) -> anyhow::Result<u32> {
        let ty = self.functions.get(usize::try_from(function)?);
        ty.copied().with_context(|| format!("there is no function {function}"))
    }

    /// Functions with code, sorted so that similar ones stand beside each other: by their types, and those of one type by their bytes. That
    /// makes a compressed binary one percent smaller than the linker's order; other orders that were tried (by size, by name, by instructions without
    /// operands) do less.
    pub(crate) fn similar(&self, functions: impl IntoIterator<Item = u32>) -> anyhow::Result<Vec<u32>> {
        let mut sorted = Vec::new();
        for function in functions {
            let body = self.body(function).context("an imported function has no code")?;
            sorted.push((self.function_type(function)?, body.as_bytes(), function));
        }
        sorted.sort_unstable();
        Ok(sorted.into_iter().map(|(_, _, function)| function).collect())
    }

    /// The functions that a function calls by their index.
    pub(crate) fn calls(&self, function: u32) -> anyhow::Result<Vec<u32>> {
        let mut calls = Vec::new();
        let Some(body) = self.body(function) else {
            return Ok(calls);
        };
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    calls.push(function_index);
                }
                // Such code would hold a function of one part in the other. The compiler does not make it.
                Operator::RefFunc { .. }
                | Operator::MemoryInit { .. }
                | Operator::DataDrop { .. }
                | Operator::TableInit { .. }
                | Operator::ElemDrop { .. } => {
                    bail!("function {function} has an instruction that cannot be split");
                }
                _ => {}
            }
        }
        Ok(calls)
    }

    /// The section of types, to be added to.
    pub(crate) fn encoded_types(&self) -> anyhow::Result<wasm_encoder::TypeSection> {
        let mut types = wasm_encoder::TypeSection::new();
        for ty in &self.types {
            types.ty().func_type(&RoundtripReencoder.func_type(ty.clone())?);
        }
        Ok(types)
    }

    /// Adds the sections of data, as they are if there is no other; `code` stands between them.
    pub(crate) fn add_data(
        &self,
        module: &mut wasm_encoder::Module,
        code: &wasm_encoder::CodeSection,
        other: Option<&wasm_encoder::DataSection>,
    ) {
        if let Some(count) = self.data_count {
            module.section(&wasm_encoder::DataCountSection { count });
        }
        module.section(code);
        if let Some(other) = other {
            module.section(other);
        } else if let Some(data) = self.data {
            let id = wasm_encoder::SectionId::Data.into();
            module.section(&wasm_encoder::RawSection { id, data });
        }
    }

    /// Adds the list of features.
    pub(crate) fn add_features(&self, module: &mut wasm_encoder::Module) {
        if let Some(data) = self.features {
            module.section(&wasm_encoder::CustomSection {
                name: "target_features".into(),
                data: data.into(),
            });
        }
    }
}
