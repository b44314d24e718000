-- Does for LaTeX and Typst what Quarto would do with report.qmd and pandoc (3.1 or later) alone would not: cross-references,
-- numbered equations, panels of figures, and tables that fit the page. Raw code is put around captions and cells, never in
-- their place, so that pandoc still typesets them, and `--citeproc`, which runs next, finds the citations in them.
local latex = FORMAT == "latex"
local words = {fig = "Figure", tbl = "Table", eq = "Equation", sec = "Section"}
local known, unknown = {}, pandoc.List()

local function fail(sentence, ...)   -- one sentence instead of a stack trace
  io.stderr:write(sentence:format(...), "\n")
  os.exit(1)
end
local function mix(parts)   -- strings are raw code, the rest is text for pandoc
  local out = pandoc.Inlines{}
  for _, part in ipairs(parts) do out:extend(type(part) == "string" and {pandoc.RawInline(FORMAT, part)} or part) end
  return out
end
local function write(element) return pandoc.write(pandoc.Pandoc(pandoc.Plain(element)), FORMAT) end

-- Stage 1, labels: they are gathered first, because a reference may stand before the thing that it refers to.
local function label(id)
  if not words[id:match("^(%l+)%-")] then return end
  if known[id] then fail("The label #%s is given twice in the report.", id) end
  known[id] = true
end
local function labelled(element) label(element.identifier) end
local function header(h) if not h.classes:includes("unnumbered") then label(h.identifier) end end

-- `$$ ... $$ {#eq-x}` reads as mathematics followed by a plain word: join the two into one numbered equation.
local function equations(inlines)
  for i = #inlines - 1, 1, -1 do
    local j = (inlines[i + 1].t == "Space" or inlines[i + 1].t == "SoftBreak") and i + 2 or i + 1
    local id = inlines[j] and inlines[j].t == "Str" and inlines[j].text:match("^{#(eq%-[%w_%-]+)}$")
    if id and inlines[i].mathtype == "DisplayMath" then
      label(id)
      inlines[i] = pandoc.Span(latex and mix{"\\begin{equation}\\label{" .. id .. "}" .. inlines[i].text .. "\\end{equation}"}
        or mix{'#[#set math.equation(numbering: "(1)"); ', {inlines[i]}, " <" .. id .. ">]"})
      for k = j, i + 1, -1 do inlines:remove(k) end
    end
  end
  return inlines
end

-- Stage 2, references: `@fig-x` is a citation to pandoc. LaTeX and Typst do the counting; the link covers word and number.
local function reference(cite)
  local parts = {}
  for i, c in ipairs(cite.citations) do
    local kind = c.id:match("^(%l+)%-")
    if not words[kind] then return nil end
    if not known[c.id] and not unknown:includes("@" .. c.id) then unknown:insert("@" .. c.id) end
    local word = c.mode == "SuppressAuthor" and "" or words[kind] .. "~"
    local number = (latex and "\\ref*{%s}" or "#ref(<%s>, supplement: none)"):format(c.id)
    if kind == "eq" then number = "(" .. number .. ")" end
    parts[#parts + 1] = (i > 1 and ", " or "") .. (latex and "\\hyperref[%s]{%s%s}" or "#link(<%s>)[%s%s]"):format(c.id, word, number)
    parts[#parts + 1] = c.suffix
  end
  return mix(parts)
end
local function check()
  if #unknown > 0 then fail("The report refers to %s, but nothing numbered in it has that label.", table.concat(unknown, ", ")) end
end

-- Typst looks for images beside its own file, unless their names begin at the root, which is the report's folder.
local function image(img)
  local file = io.open(img.src) or fail("The report shows %s, which does not exist.", img.src)
  file:close()
  if not latex then img.src = "/" .. img.src end
  return img
end

-- A panel: its images in rows of layout-ncol, with (a), (b), ... below them; its last paragraph is the caption of the whole.
local function panel(div)
  if not div.identifier:match("^fig%-") then return nil end
  local columns, count, last = tonumber(div.attributes["layout-ncol"] or 1), 0, div.content[#div.content]
  local caption = last.t == "Para" and last.content[1].t ~= "Image" and last.content or {}
  local out = mix{latex and "\\begin{figure}\n\\centering\n" or "#figure(kind: image, grid(columns: " .. columns .. ", gutter: 1em, "}
  div:walk{Image = function(img)
    img.attributes.width = img.attributes.width or "100%"
    local gap = count == 0 and "" or count % columns == 0 and "\\\\[1ex]\n" or "\\hfill\n"
    out:extend(latex and mix{gap .. "\\begin{subfigure}[t]{" .. 0.98 / columns .. "\\linewidth}\\centering\n", {img},
      "\n\\caption{", img.caption, "}\n\\end{subfigure}"}
      or mix{"[", {img}, "#subcaption[(" .. string.char(97 + count) .. ") ", img.caption, "]], "})
    count = count + 1
  end}
  return pandoc.Plain(out .. mix{latex and "\n\\caption{" or "), caption: [", caption,
    (latex and "}\\label{%s}\n\\end{figure}" or "]) <%s>"):format(div.identifier)})
end

-- A table: columns as wide as their contents. Where that would run over the line (of some 85 small characters), headings
-- break between words, and the long columns share what room is left. LaTeX breaks a table of more than 40 lines over
-- pages (pandoc's own longtable), the others stay whole.
local columns = {AlignRight = {"r", "raggedleft"}, AlignCenter = {"c", "centering"}}
local function tabular(tbl)
  local simple, need, head, given, specs = pandoc.utils.to_simple_table(tbl), {}, {}, {}, {}
  local rows = pandoc.List{simple.header} .. simple.rows
  local function length(row, c) return utf8.len(pandoc.utils.stringify(row[c])) end
  local wide, room, least, share = 0, 85, 0, 0
  for c = 1, #simple.aligns do
    head[c], need[c] = length(simple.header, c), 1
    for word in pandoc.utils.stringify(simple.header[c]):gmatch("%S+") do need[c] = math.max(need[c], utf8.len(word)) end
    for _, row in ipairs(simple.rows) do need[c] = math.max(need[c], length(row, c)) end
    wide = wide + math.max(head[c], need[c]) + 2
  end
  local function is_long(c) return wide > 85 and need[c] > math.max(12, 85 / #simple.aligns) end
  for c = 1, #simple.aligns do
    if is_long(c) then least, share = least + 10, share + math.sqrt(need[c]) else room = room - need[c] - 2 end
  end
  local line = 0   -- the share of it that all columns ask for; where that is more than 1, all get less
  for c = 1, #simple.aligns do
    if is_long(c) then given[c] = math.min(need[c] + 2, math.max(room, least) * math.sqrt(need[c]) / share) / 85
    elseif wide > 85 and head[c] > need[c] then given[c] = (need[c] + 2) / 85 end
    if wide > 85 then line = line + (given[c] or (need[c] + 2) / 85) end
  end
  for c, align in ipairs(simple.aligns) do
    local letter, ragged = table.unpack(columns[align] or {"l", "raggedright"})
    if given[c] then given[c] = given[c] / math.max(1, line) end
    if given[c] then letter = (">{\\%s\\arraybackslash}p{\\dimexpr%.4f\\linewidth-2\\tabcolsep}"):format(ragged, given[c]) end
    specs[c] = letter
  end
  local lines = 0
  for _, row in ipairs(rows) do
    local most = 1
    for c = 1, #row do most = math.max(most, given[c] and math.ceil(length(row, c) / (85 * given[c] - 2)) or 1) end
    lines = lines + most
  end
  if lines > 40 or not latex then
    for c, align in ipairs(simple.aligns) do tbl.colspecs[c] = {align, given[c] or wide > 85 and (need[c] + 2) / 85 / math.max(1, line) or nil} end
    if latex or lines <= 40 then return tbl end
    return {pandoc.RawBlock("typst", "#[#set figure(placement: none); #show figure: set block(breakable: true)"), tbl, pandoc.RawBlock("typst", "]")}
  end
  local parts = {"\\begin{table}\n\\centering\\small\n\\caption{", pandoc.utils.blocks_to_inlines(tbl.caption.long),
    ("}\\label{%s}\n\\begin{tabular}{@{}%s@{}}\n\\toprule\n"):format(tbl.identifier, table.concat(specs))}
  for r, row in ipairs(rows) do
    for c, cell in ipairs(row) do
      parts[#parts + 1] = pandoc.utils.blocks_to_inlines(cell)
      parts[#parts + 1] = c < #row and " & " or r == 1 and " \\\\\n\\midrule\n" or " \\\\\n"
    end
  end
  parts[#parts + 1] = "\\bottomrule\n\\end{tabular}\n\\end{table}"
  return pandoc.Plain(mix(parts))
end

-- Stage 3, code and mathematics. Names of runs are long, and LaTeX breaks no line inside code by itself (for Typst see
-- preamble.typ). Pandoc 3.9 writes some symbols by names that Typst has given up since, and some spaces as nothing.
local function code(c) return latex and mix{(write(c):gsub("\\?[/_=%-]", "%0\\allowbreak{}"))} or nil end
local renamed = {{"%.circle", ".o"}, {"%f[%w]sect%f[%W]", "inter"}, {"%f[%w]parallel%f[%W]", "bar.v.double"},
  {"\u{2225}(.-)\u{2225}", "lr(bar.v.double %1 bar.v.double)"}, {"#h%(0em%)", "thick"}, {"#h%(%-1em%)", "#h(-0.17em)"}}
local function formula(m)
  if latex then return nil end
  local text = write(m)
  for _, pair in ipairs(renamed) do text = text:gsub(pair[1], pair[2]) end
  return mix{text}
end

return {
  {Header = header, Figure = labelled, Div = labelled, Table = labelled, Inlines = equations},
  {Cite = reference, Image = image, Div = panel, Table = tabular, Pandoc = check},
  {Code = code, Math = formula},
}
