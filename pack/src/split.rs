//! Splits a binary into what a first visit runs and the rest, which is loaded later.
//!
//! Which functions a first visit does not run was measured, see [`profile`]. In the first part each of them that something of the first
//! part refers to is a few instructions that load the rest, if it is not there, and call the function in it. The parts share memory,
//! globals and tables; one more table, the *link*, has the functions of the first part that the rest calls, and behind them those of the
//! rest that the first part calls. Of the data, what only the panic handler reads is in the rest, see [`locations`].
//!
//! `loader.js` is added to the glue: it loads the rest.

pub(crate) mod binary;
pub(crate) mod locations;
pub(crate) mod names;
pub(crate) mod outline;
pub(crate) mod profile;
pub(crate) mod regions;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use anyhow::{Context, ensure};
use std::{fs, path::Path};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, InstructionSink, MemorySection, Module, RefType,
    TableSection, TableType, ValType,
    reencode::{Error, Reencode, RoundtripReencoder},
};
use wasmparser::{ElementItems, ElementKind, ExternalKind};

use binary::Binary;

/// What the first part exports for the rest, and what the rest imports: names that wasm-bindgen does not make. `loader.js` has them too.
const SHARED: &str = "$";
const LINK: &str = "$l";
const LOADED: &str = "$r";
/// The function of the glue that loads the rest.
const LOAD: &str = "$load";
/// A function of the rest that the first part calls more often has one place there that loads the rest.
const DIRECT_CALLS: usize = 2;
/// The module of the rest's imported functions: their names are the numbers of their entries in the link.
const FUNCTIONS: &str = "f";

/// The lists of functions that a first visit does not run, one for each binary, written by `cargo xtask profile`.
const COLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cold");
/// Added to the glue.
const LOADER: &str = include_str!("split/loader.js");
/// The beginning of the functions that the binary imports, in the glue of wasm-bindgen, and where the glue has the instance.
const GLUE_IMPORTS: &str = "const import0 = {\n";
/// The beginning of the functions that the browser calls: each enters the binary.
const GLUE_CLOSURE: &str = "const real = (...args) => {\n";
const DELAY: &str = "if (delayed) return delay(state, () => real(...args));\n";
const GLUE_INSTANCE: &str = "wasm = instance.exports;\n";

/// Splits each binary that has glue beside it, and for which there is a list; removes names and other custom sections. With `profile`, each
/// function marks that it ran instead.
pub(crate) fn all(directory: &Path, profile: bool) -> anyhow::Result<()> {
    for path in crate::files(directory)? {
        let Some(stem) = path.to_str().and_then(|path| path.strip_suffix("_bg.wasm")) else {
            continue;
        };
        let glue = format!("{stem}.js");
        if Path::new(&glue).exists() {
            let name = Path::new(stem)
                .file_name()
                .and_then(|name| name.to_str())
                .context("it has no name")?;
            one(&path, Path::new(&glue), name, profile).with_context(|| format!("cannot split {}", path.display()))?;
        }
    }
    Ok(())
}

fn one(path: &Path, glue: &Path, name: &str, profile: bool) -> anyhow::Result<()> {
    let bytes = fs::read(path)?;
    let script = fs::read_to_string(glue)?;
    let with = |script: &str, place: &str, text: &str| {
        ensure!(script.matches(place).count() == 1, "the glue has not once: {place}");
        Ok(script.replacen(place, &format!("{place}{text}"), 1))
    };
    if profile {
        fs::write(path, profile::instrument(&bytes)?)?;
        let keep = format!("(globalThis.{} ??= {{}})[\"{name}\"] = wasm;\n", profile::PROFILE);
        fs::write(glue, with(&script, GLUE_INSTANCE, &keep)?)?;
        return Ok(());
    }
    let list = fs::read_to_string(Path::new(COLD).join(format!("{name}.txt"))).unwrap_or_default();
    let cold = Cold::parse(&list)?;
    let bytes = outline::outline(&bytes, outline::GAIN, |name, shape| {
        cold.regions(&names::stable(name), shape)
    })?;
    let Some(parts) = split(&bytes, |name| {
        cold.functions.contains(name) || name.starts_with(outline::NAME)
    })?
    else {
        eprintln!("pack: {name} is not split: there is no list of functions, or the binary has no names");
        fs::write(path, without_custom_sections(&bytes)?)?;
        return Ok(());
    };
    let rest = format!("{name}_rest.wasm");
    fs::write(path, without_custom_sections(&parts.first)?)?;
    fs::write(path.with_file_name(&rest), without_custom_sections(&parts.rest)?)?;
    ensure!(script.contains(GLUE_CLOSURE), "the glue has no closures");
    let script = script.replace(GLUE_CLOSURE, &format!("{GLUE_CLOSURE}{DELAY}"));
    let script = with(&script, GLUE_IMPORTS, &format!("{LOAD}: loadRestNow,\n"))?;
    let loader = LOADER.replace("\"CALLED_BY_REST\"", &parts.called_by_rest.to_string());
    fs::write(glue, script + &loader.replace("/REST", &format!("/{rest}")))?;
    Ok(())
}

/// Without names, and without what tells which compiler made the binary.
fn without_custom_sections(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut module = Module::new();
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Some((id, range)) = payload.as_section() {
            let data = &bytes[usize::try_from(range.start)?..usize::try_from(range.end)?];
            if id != u8::from(wasm_encoder::SectionId::Custom) {
                module.section(&wasm_encoder::RawSection { id, data });
            }
        }
    }
    Ok(module.finish())
}

/// What a first visit does not run: a line for each function.
struct Cold<'a> {
    /// Whole functions: the line is the name.
    functions: BTreeSet<&'a str>,
    /// Regions of others: behind the name are the shape of the function and the numbers of the regions, as ranges, after tabulators.
    regions: BTreeMap<&'a str, (u32, BTreeSet<usize>)>,
}

impl<'a> Cold<'a> {
    fn parse(list: &'a str) -> anyhow::Result<Self> {
        let mut cold = Self {
            functions: BTreeSet::new(),
            regions: BTreeMap::new(),
        };
        for line in list.lines() {
            let Some((name, rest)) = line.split_once('\t') else {
                cold.functions.insert(line);
                continue;
            };
            let (shape, ranges) = rest
                .split_once('\t')
                .with_context(|| format!("a line is cut off: {line}"))?;
            let mut regions = BTreeSet::new();
            for range in ranges.split(' ') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                regions.extend(first.parse::<usize>()?..=last.parse()?);
            }
            cold.regions.insert(name, (u32::from_str_radix(shape, 16)?, regions));
        }
        Ok(cold)
    }

    /// None if the function is not the one that was measured.
    fn regions(&self, name: &str, shape: u32) -> Option<BTreeSet<usize>> {
        self.regions
            .get(name)
            .filter(|(known, _)| *known == shape)
            .map(|(_, regions)| regions.clone())
    }
}

/// Both parts of a binary.
pub(crate) struct Parts {
    pub(crate) first: Vec<u8>,
    pub(crate) rest: Vec<u8>,
    /// How many functions of the first part the rest calls.
    pub(crate) called_by_rest: usize,
}

/// Splits a binary. `is_cold` tells by its name whether a first visit runs a function without running it: functions without a name stay in the first
/// part. None if nothing is to be split off.
pub(crate) fn split(bytes: &[u8], is_cold: impl Fn(&str) -> bool) -> anyhow::Result<Option<Parts>> {
    let binary = Binary::parse(bytes)?;
    let plan = Plan::of(&binary, is_cold)?;
    if plan.cold.is_empty() {
        return Ok(None);
    }
    Ok(Some(Parts {
        first: plan.first(&binary)?,
        rest: plan.rest(&binary)?,
        called_by_rest: plan.called_by_rest.len(),
    }))
}

/// What goes where. Functions are their indexes in the binary.
struct Plan {
    /// Functions of the rest that the first part calls or has in a table, in the order of their entries in the link.
    cold: Vec<u32>,
    /// Functions of the first part, imported ones among them, that the rest calls, in the order of their entries in the link, before
    /// those of `cold`.
    called_by_rest: Vec<u32>,
    /// Those of `cold` that the first part calls so seldom that the call loads the rest itself.
    called_directly: BTreeSet<u32>,
    /// The functions with code in each part, in the order of [`Binary::similar`]. Those of `cold` are in both but for those of `called_directly`: in the first part they
    /// call the rest.
    first: Vec<u32>,
    rest: Vec<u32>,
    /// None if all data stays in the first part.
    data: Option<locations::Parts>,
}

impl Plan {
    fn of(binary: &Binary<'_>, is_cold: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let is_cold = |function: u32| {
            binary
                .names
                .get(&function)
                .is_some_and(|name| is_cold(&names::stable(name)))
        };
        let exported = binary.exports.iter().filter(|export| export.kind == ExternalKind::Func);
        let mut first: BTreeSet<u32> = exported.map(|export| export.index).chain(binary.start).collect();
        for element in &binary.elements {
            first.extend(functions_of(element)?.1);
        }
        let referred = first.clone();
        let mut calls_of: BTreeMap<u32, usize> = BTreeMap::new();
        // Imported functions are in the first part, whoever calls them.
        first.extend(0..u32::try_from(binary.imported_functions)?);
        let mut waiting: Vec<u32> = first.iter().copied().collect();
        while let Some(function) = waiting.pop() {
            if !is_cold(function) || binary.start == Some(function) {
                let calls = binary.calls(function)?;
                for called in &calls {
                    *calls_of.entry(*called).or_default() += 1;
                }
                waiting.extend(calls.into_iter().filter(|called| first.insert(*called)));
            }
        }
        let local = |function: &u32| binary.body(*function).is_some();
        let cold: Vec<u32> = first
            .iter()
            .copied()
            .filter(|function| local(function) && is_cold(*function) && binary.start != Some(*function))
            .collect();
        let all = 0..u32::try_from(binary.functions.len())?;
        let mut rest = BTreeSet::from_iter(cold.iter().copied());
        let mut waiting = cold.clone();
        let mut called_by_rest = BTreeSet::new();
        let cold_set = rest.clone();
        while let Some(function) = waiting.pop() {
            for called in binary.calls(function)? {
                if first.contains(&called) && !cold_set.contains(&called) {
                    called_by_rest.insert(called);
                } else if rest.insert(called) {
                    waiting.push(called);
                }
            }
        }
        let called_directly: BTreeSet<u32> = cold
            .iter()
            .copied()
            .filter(|function| {
                !referred.contains(function) && calls_of.get(function).is_some_and(|calls| *calls <= DIRECT_CALLS)
            })
            .collect();
        first.retain(|function| !called_directly.contains(function));
        let name = |function: &u32| binary.names.get(function).copied().unwrap_or_default();
        let mut panics = all
            .clone()
            .filter(|function| name(function).ends_with(locations::PANIC_HANDLER));
        let data = if panics.any(|function| rest.contains(&function)) {
            binary.data.map(locations::split).transpose()?
        } else {
            None
        };
        Ok(Self {
            data,
            cold,
            called_directly,
            called_by_rest: called_by_rest.into_iter().collect(),
            first: binary.similar(all.filter(|function| first.contains(function) && local(function)))?,
            rest: binary.similar(rest)?,
        })
    }

    fn link_type(&self) -> anyhow::Result<TableType> {
        let entries = u64::try_from(self.called_by_rest.len() + self.cold.len())?;
        Ok(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: entries,
            maximum: Some(entries),
            shared: false,
        })
    }

    fn first(&self, binary: &Binary<'_>) -> anyhow::Result<Vec<u8>> {
        let imported = u32::try_from(binary.imported_functions)?;
        // The imported function that loads the rest is behind the others.
        let load = imported;
        let mut indexes: BTreeMap<u32, u32> = (0..imported).map(|function| (function, function)).collect();
        for (position, function) in (imported + 1..).zip(&self.first) {
            indexes.insert(*function, position);
        }
        let ensure_loaded = imported + 1 + u32::try_from(self.first.len())?;
        let mut renumber = Renumber { functions: &indexes };

        let mut types = binary.encoded_types()?;
        let load_type = types.len();
        types.ty().function([], []);
        let ensure_type = types.len();
        types.ty().function([ValType::I32], [ValType::I32]);

        let mut imports = ImportSection::new();
        for import in &binary.imports {
            imports.import(import.module, import.name, RoundtripReencoder.entity_type(import.ty)?);
        }
        let module_name = binary
            .imports
            .first()
            .context("it imports nothing from its glue")?
            .module;
        imports.import(module_name, LOAD, EntityType::Function(load_type));

        let mut functions = FunctionSection::new();
        for function in &self.first {
            functions.function(binary.function_type(*function)?);
        }
        functions.function(ensure_type);

        let (mut tables, mut memories, mut globals) = (TableSection::new(), MemorySection::new(), GlobalSection::new());
        for table in &binary.tables {
            renumber.parse_table(&mut tables, table.clone())?;
        }
        let link = tables.len();
        tables.table(self.link_type()?);
        for memory in &binary.memories {
            memories.memory(RoundtripReencoder.memory_type(*memory)?);
        }
        for global in &binary.globals {
            renumber.parse_global(&mut globals, global.clone())?;
        }
        let loaded = globals.len();
        let flag = GlobalType {
            val_type: ValType::I32,
            mutable: true,
            shared: false,
        };
        globals.global(flag, &ConstExpr::i32_const(0));

        let mut exports = ExportSection::new();
        for export in &binary.exports {
            renumber.parse_export(&mut exports, *export)?;
        }
        exports.export(LINK, ExportKind::Table, link);
        exports.export(LOADED, ExportKind::Global, loaded);
        for shared in shared(binary)? {
            exports.export(&shared.name, shared.kind, shared.index);
        }

        let mut elements = ElementSection::new();
        for element in &binary.elements {
            renumber.parse_element(&mut elements, element.clone())?;
        }
        let called: Vec<u32> = self.called_by_rest.iter().map(|function| indexes[function]).collect();
        elements.active(Some(link), &ConstExpr::i32_const(0), Elements::Functions(called.into()));

        let mut code = CodeSection::new();
        let cold: BTreeMap<u32, usize> = self.cold.iter().copied().zip(self.called_by_rest.len()..).collect();
        for function in &self.first {
            if let Some(entry) = cold.get(function) {
                let ty = binary.function_type(*function)?;
                code.function(&call_of_rest(binary, ty, i32::try_from(*entry)?, ensure_loaded, link)?);
            } else {
                let body = binary.body(*function).context("an imported function has code")?;
                let mut copy = renumber.new_function_with_parsed_locals(body)?;
                for operator in body.get_operators_reader()? {
                    match operator? {
                        wasmparser::Operator::Call { function_index }
                            if self.called_directly.contains(&function_index) =>
                        {
                            let ty = binary.function_type(function_index)?;
                            let entry = i32::try_from(cold[&function_index])?;
                            copy.instructions()
                                .i32_const(entry)
                                .call(ensure_loaded)
                                .call_indirect(link, ty);
                        }
                        operator => {
                            copy.instruction(&renumber.instruction(operator)?);
                        }
                    }
                }
                code.function(&copy);
            }
        }
        let mut ensure = Function::new([]);
        ensure
            .instructions()
            .global_get(loaded)
            .i32_eqz()
            .if_(BlockType::Empty)
            .call(load)
            .end()
            .local_get(0)
            .end();
        code.function(&ensure);

        let mut module = Module::new();
        module
            .section(&types)
            .section(&imports)
            .section(&functions)
            .section(&tables)
            .section(&memories);
        module.section(&globals).section(&exports);
        if let Some(start) = binary.start {
            module.section(&wasm_encoder::StartSection {
                function_index: indexes[&start],
            });
        }
        module.section(&elements);
        binary.add_data(&mut module, &code, self.data.as_ref().map(|data| &data.first));
        binary.add_features(&mut module);
        Ok(module.finish())
    }

    fn rest(&self, binary: &Binary<'_>) -> anyhow::Result<Vec<u8>> {
        let mut imports = ImportSection::new();
        let mut indexes = BTreeMap::new();
        for (entry, function) in self.called_by_rest.iter().enumerate() {
            let ty = EntityType::Function(binary.function_type(*function)?);
            imports.import(FUNCTIONS, &entry.to_string(), ty);
            indexes.insert(*function, u32::try_from(entry)?);
        }
        let mut functions = FunctionSection::new();
        for function in &self.rest {
            indexes.insert(*function, u32::try_from(indexes.len())?);
            functions.function(binary.function_type(*function)?);
        }
        for shared in shared(binary)? {
            imports.import(SHARED, &shared.name, shared.ty);
        }
        let link = u32::try_from(binary.tables.len())?;
        imports.import(SHARED, LINK, EntityType::Table(self.link_type()?));

        let mut elements = ElementSection::new();
        let cold: Vec<u32> = self.cold.iter().map(|function| indexes[function]).collect();
        let offset = i32::try_from(self.called_by_rest.len())?;
        elements.active(
            Some(link),
            &ConstExpr::i32_const(offset),
            Elements::Functions(cold.into()),
        );
        // Where the first part has calls of the rest in a table, the functions themselves.
        let cold: BTreeSet<u32> = self.cold.iter().copied().collect();
        for element in &binary.elements {
            let (place, functions) = functions_of(element)?;
            let Some((table, offset)) = place else { continue };
            let mut run = Vec::new();
            let end = offset + i32::try_from(functions.len())?;
            for (position, function) in (offset..).zip(functions.iter().map(Some).chain([None])) {
                match function.filter(|function| cold.contains(function)) {
                    Some(function) => run.push(indexes[function]),
                    None if run.is_empty() => {}
                    None => {
                        let start = ConstExpr::i32_const(position - i32::try_from(run.len())?);
                        elements.active(
                            Some(table),
                            &start,
                            Elements::Functions(std::mem::take(&mut run).into()),
                        );
                    }
                }
                debug_assert!(position <= end);
            }
        }

        let mut code = CodeSection::new();
        let mut renumber = Renumber { functions: &indexes };
        for function in &self.rest {
            let body = binary.body(*function).context("an imported function has code")?;
            renumber.parse_function_body(&mut code, body.clone())?;
        }

        let mut module = Module::new();
        module
            .section(&binary.encoded_types()?)
            .section(&imports)
            .section(&functions)
            .section(&elements)
            .section(&code);
        if let Some(data) = &self.data {
            module.section(&data.rest);
        }
        binary.add_features(&mut module);
        Ok(module.finish())
    }
}

/// Loads the rest, if it is not there, and calls a function of it.
fn call_of_rest(binary: &Binary<'_>, ty: u32, entry: i32, ensure_loaded: u32, link: u32) -> anyhow::Result<Function> {
    let parameters = binary.types[usize::try_from(ty)?].params().len();
    let mut function = Function::new([]);
    let mut code: InstructionSink<'_> = function.instructions();
    for parameter in 0..u32::try_from(parameters)? {
        code.local_get(parameter);
    }
    code.i32_const(entry).call(ensure_loaded).call_indirect(link, ty).end();
    Ok(function)
}

/// Something that both parts use.
struct Shared {
    name: String,
    kind: ExportKind,
    index: u32,
    ty: EntityType,
}

/// Memory, tables and globals, in the order of their indexes.
fn shared(binary: &Binary<'_>) -> anyhow::Result<Vec<Shared>> {
    let mut shared = Vec::new();
    let mut add = |letter, kind, index: usize, ty| {
        let name = format!("{SHARED}{letter}{index}");
        let index = u32::try_from(index)?;
        shared.push(Shared { name, kind, index, ty });
        anyhow::Ok(())
    };
    for (index, memory) in binary.memories.iter().enumerate() {
        add(
            'm',
            ExportKind::Memory,
            index,
            EntityType::Memory(RoundtripReencoder.memory_type(*memory)?),
        )?;
    }
    for (index, table) in binary.tables.iter().enumerate() {
        add(
            't',
            ExportKind::Table,
            index,
            EntityType::Table(RoundtripReencoder.table_type(table.ty)?),
        )?;
    }
    for (index, global) in binary.globals.iter().enumerate() {
        add(
            'g',
            ExportKind::Global,
            index,
            EntityType::Global(RoundtripReencoder.global_type(global.ty)?),
        )?;
    }
    Ok(shared)
}

/// The index of a table, and of an entry of it.
type Place = (u32, i32);

/// The functions of an element segment, and of an active one its table and the index there of its first function.
fn functions_of(element: &wasmparser::Element<'_>) -> anyhow::Result<(Option<Place>, Vec<u32>)> {
    let functions = match &element.items {
        ElementItems::Functions(functions) => functions.clone().into_iter().collect::<Result<_, _>>()?,
        ElementItems::Expressions(ty, items) => {
            ensure!(
                !ty.is_func_ref() || items.count() == 0,
                "a table is filled by expressions"
            );
            Vec::new()
        }
    };
    let place = match &element.kind {
        ElementKind::Active {
            table_index,
            offset_expr,
        } => {
            let mut operators = offset_expr.get_operators_reader();
            let wasmparser::Operator::I32Const { value } = operators.read()? else {
                anyhow::bail!("a table is filled from a place that is not constant");
            };
            Some((table_index.unwrap_or_default(), value))
        }
        ElementKind::Passive | ElementKind::Declared => None,
    };
    Ok((place, functions))
}

/// Copies code with other indexes of functions.
struct Renumber<'a> {
    functions: &'a BTreeMap<u32, u32>,
}

impl Reencode for Renumber<'_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        // Each function that the code refers to is in the part of the code.
        self.functions
            .get(&function)
            .copied()
            .ok_or(Error::UnexpectedNonCoreModuleSection)
    }
}
