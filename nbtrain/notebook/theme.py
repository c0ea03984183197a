"""The style of the live view. Text has the page's own colour; only shapes are coloured, and never say anything alone.

Each front end marks its dark pages in its own way (JupyterLab, Notebook and nbconvert on the body; VS Code on the body;
Colab on the root), so each is named here. A page that says nothing gets middle tones that stand on white and on black.
"""

from __future__ import annotations

FONT = "var(--jp-ui-font-family, system-ui, -apple-system, 'Segoe UI', sans-serif)"

# contrast with the page: at least 4.5 to 1 in light and in dark, 3.5 to 1 for the middle tones on either
_MIDDLE = "--train:#3b82c4;--valid:#c2701c;--good:#2f8f5b;--bad:#d64a45;"
_LIGHT = "--train:#1a66b0;--valid:#a84e06;--good:#1b7445;--bad:#b3261e;"
_DARK = "--train:#6cb2f5;--valid:#f2a65a;--good:#5fce94;--bad:#ff8a80;"

STYLE = (
    f".nbtrain{{{_MIDDLE}"
    f"font:13px/1.45 {FONT};max-width:760px;padding:4px 2px 8px;font-variant-numeric:tabular-nums}}"
    f"[data-jp-theme-light='true'] .nbtrain,[data-vscode-theme-kind*='light'] .nbtrain{{{_LIGHT}}}"
    "[data-jp-theme-light='false'] .nbtrain,[data-vscode-theme-kind='vscode-dark'] .nbtrain,"
    "[data-vscode-theme-kind='vscode-high-contrast'] .nbtrain,"
    f"html[theme='dark'] .nbtrain{{{_DARK}}}"
    ".nbtrain header{display:flex;gap:10px;align-items:baseline;flex-wrap:wrap}"
    ".nbtrain header b{font-size:15px}"
    ".nbtrain .muted{opacity:.74}"
    ".nbtrain .state{border:1px solid rgba(128,128,128,.45);border-radius:10px;padding:0 9px}"
    ".nbtrain .state i{font-style:normal;color:var(--train);margin-right:5px}"
    ".nbtrain .finished i{color:var(--good)}.nbtrain .failed i{color:var(--bad)}.nbtrain .stopped i{color:var(--valid)}"
    ".nbtrain .bar{height:4px;border-radius:2px;margin:7px 0 10px;background:rgba(128,128,128,.25)}"
    ".nbtrain .bar div{height:4px;border-radius:2px;background:var(--train)}"
    ".nbtrain.nbtrain table{border-collapse:collapse;border:0;margin:8px 0;font-size:12px;table-layout:auto}"
    # as particular as JupyterLab's own stripes, and one class more
    ".nbtrain.nbtrain tbody tr:nth-child(n),.nbtrain.nbtrain tr{background:none}"
    ".nbtrain.nbtrain th,.nbtrain.nbtrain td{border:0;text-align:right;padding:2px 18px 2px 0;vertical-align:top;"
    "background:none;max-width:none;white-space:nowrap}"
    ".nbtrain.nbtrain th{font-weight:400;opacity:.74}"
    ".nbtrain.nbtrain .tiles th,.nbtrain.nbtrain .tiles td{text-align:left;padding:0 22px 0 0}"
    ".nbtrain.nbtrain .tiles td{font-size:14px;font-weight:600}"
    ".nbtrain.nbtrain tbody th[scope=row]{text-align:left}"
    ".nbtrain.nbtrain .values tr{border-top:1px solid rgba(128,128,128,.25)}"
    ".nbtrain.nbtrain .values thead tr{border-top:0}"
    ".nbtrain.nbtrain .values .best td{font-weight:600}"
    ".nbtrain.nbtrain .said{width:100%;margin:4px 0 10px}"
    ".nbtrain.nbtrain .said th,.nbtrain.nbtrain .said td{text-align:left;padding:1px 12px 1px 0}"
    ".nbtrain.nbtrain .said th{width:96px}"
    ".nbtrain.nbtrain .said td{white-space:pre-wrap;overflow-wrap:anywhere}"
    ".nbtrain .pictured{display:flex;gap:12px;align-items:flex-start}.nbtrain .pictured img{margin:6px 0;flex:none}"
    ".nbtrain .sheet{display:flex;gap:12px;flex-wrap:wrap}.nbtrain figure{margin:4px 0}"
    ".nbtrain figcaption{max-width:112px;font-size:12px;overflow-wrap:anywhere}"
    ".nbtrain .prompt{white-space:pre-wrap;overflow-wrap:anywhere;font:12px/1.5 monospace;margin:8px 0;"
    "padding:6px 10px;border-left:3px solid rgba(128,128,128,.45)}"
    ".nbtrain .learnt{color:var(--good);text-decoration:underline;text-underline-offset:3px}"
    ".nbtrain .beside{display:flex;flex-wrap:wrap;gap:36px;align-items:flex-start}"
    ".nbtrain .end{border-left:3px solid var(--train);padding-left:12px;margin:8px 0}"
    ".nbtrain .end.failed{border-color:var(--bad)}.nbtrain .end.stopped{border-color:var(--valid)}"
    ".nbtrain h4{font-size:13px;font-weight:600;margin:12px 0 2px}"
    ".nbtrain ul{margin:4px 0;padding-left:18px}.nbtrain summary{cursor:pointer}"
    ".nbtrain svg{display:block;width:100%;height:auto;max-width:720px}"
)

# the controls are ipywidgets' own, and have the front end's colours already
PANEL_STYLE = (
    f".nbtrain-panel{{{_MIDDLE}font:13px/1.45 {FONT}}}"
    f"[data-jp-theme-light='true'] .nbtrain-panel,[data-vscode-theme-kind*='light'] .nbtrain-panel{{{_LIGHT}}}"
    "[data-jp-theme-light='false'] .nbtrain-panel,[data-vscode-theme-kind='vscode-dark'] .nbtrain-panel,"
    "[data-vscode-theme-kind='vscode-high-contrast'] .nbtrain-panel,"
    f"html[theme='dark'] .nbtrain-panel{{{_DARK}}}"
    ".nbtrain-panel h3{margin:4px 0 0;font-size:15px}"
    ".nbtrain-panel .note{font-size:12px;line-height:1.35;margin-left:188px;opacity:.8}"
    ".nbtrain-panel .fault{opacity:1;color:var(--bad)}"
    ".nbtrain-panel .told{margin:6px 2px}"
    ".nbtrain-panel .code{margin:0 0 10px}"
    ".nbtrain-panel .code pre{white-space:pre-wrap;overflow-wrap:anywhere;max-height:260px;overflow:auto;margin:4px 0;"
    "padding:6px 8px;font-size:12px;line-height:1.4;border:1px solid rgba(128,128,128,.45);border-radius:3px}"
    ".nbtrain-panel .code button{font:inherit;cursor:pointer;color:inherit;background:none;"
    "border:1px solid rgba(128,128,128,.7);border-radius:3px;padding:1px 10px;height:auto;line-height:1.5}"
    ".nbtrain-panel .muted{opacity:.74}"
)
