#!/bin/bash
# Makes terminal-80.svg and terminal-120.svg: what the main verbs print on terminals of these widths. It runs `sekisho dev` in a folder of its
# own and types each command into tmux. Usage: docs/img/terminal.sh <folder with the programs>
set -euo pipefail
programs=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
state=$(mktemp -d /tmp/sekisho-XXXX)
export PATH=$programs:$PATH XDG_STATE_HOME=$state TERM=xterm-256color
unset NO_COLOR COLUMNS
"$programs/sekisho" dev >"$state/dev.log" 2>&1 &
dev=$!
tmux=(tmux -L "sekisho-$dev" -f /dev/null)
trap '"${tmux[@]}" kill-server 2>/dev/null || true; kill $dev; wait $dev || true; rm -rf "$state"' EXIT
until grep -q "stays up" "$state/dev.log"; do kill -0 $dev; sleep 0.2; done
sleep 3
denied=$(sekisho decisions --effect deny --limit 1 -o json | grep -o 'dec_[0-9a-f]\{16\}' | head -1)

# Colours of a capture as SVG: marks and titles are all that the program paints.
svg() {
    awk -v columns="$1" '
        function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); return text }
        { lines[NR] = $0; if ($0 !~ /^[[:space:]]*$/) last = NR }
        END {
            width = columns * 8.43 + 24; height = last * 18 + 24
            printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height
            print "<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1b1f27\"/>"
            print "<g font-family=\"ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\" fill=\"#d6dae1\">"
            for (n = 1; n <= last; n++) {
                printf "<text x=\"12\" y=\"%d\" xml:space=\"preserve\">", n * 18 + 8
                rest = lines[n]; open = 0
                while (match(rest, /\033\[[0-9;]*m/)) {
                    printf "%s", escaped(substr(rest, 1, RSTART - 1))
                    code = substr(rest, RSTART + 2, RLENGTH - 3); rest = substr(rest, RSTART + RLENGTH)
                    if (open) { printf "</tspan>"; open = 0 }
                    style = code ~ /31/ ? "fill=\"#ff7b72\"" : code ~ /32/ ? "fill=\"#7ee787\"" : code ~ /(^|;)1(;|$)/ ? "font-weight=\"bold\" fill=\"#ffffff\"" : ""
                    if (style != "") { printf "<tspan %s>", style; open = 1 }
                }
                printf "%s%s</text>\n", escaped(rest), open ? "</tspan>" : ""
            }
            print "</g>\n</svg>"
        }'
}

for columns in 80 120; do
    "${tmux[@]}" new-session -d -x "$columns" -y 300 "env -u TMUX PS1='\$ ' bash --norc --noprofile"
    for line in "sekisho top --count 1" "sekisho agents" "sekisho entries" "sekisho decisions --limit 4" "sekisho why $denied" "sekisho doctor"; do
        "${tmux[@]}" send-keys -l "$line"
        "${tmux[@]}" send-keys Enter
        sleep 3
    done
    "${tmux[@]}" capture-pane -p -e | sed -E -e 's/[[:space:]]*$//' -e 's/([0-9]+\.[0-9]+)[^ ]*(: peers)/\1\2/' >"$state/capture"
    svg "$columns" <"$state/capture" >"$here/terminal-$columns.svg"
    "${tmux[@]}" kill-server
done
