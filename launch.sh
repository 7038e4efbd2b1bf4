#!/usr/bin/env bash
# Runs experiments and tests in an environment of their own, which it makes and keeps up to date.
#   PYTHON=python3.12   the interpreter to make it with        VENV=DIR   where it lies, by default .venv here
set -euo pipefail
root=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
venv=${VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac

list() {
  echo 'usage: ./launch.sh WHAT [--flag=value ...]'
  echo
  for file in "$root"/experiments/*.py; do
    grep -q '^if __name__' "$file" && printf '  %-12s %s\n' "$(basename "$file" .py)" "$(sed -n '1s/"""//gp' "$file")"
  done
  printf '  %-12s %s\n' test 'The tests; what follows goes to pytest.'
  echo
  echo 'The flags of an experiment: ./launch.sh mnist --help'
  echo 'Known configurations (--flagfile=FILE):'
  (cd "$root" && ls experiments/recipes/*.flags | sed 's/^/  /')
}

fail() { echo "error: $*" >&2; exit 1; }

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

interpreter() {
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    recent "$candidate" && echo "$candidate" && return
  done
  return 1
}

accelerator() { # the extra of pyproject.toml that brings JAX for what this machine has
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    local cuda
    cuda=$(nvidia-smi | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p' | head -n 1)
    if [ "${cuda:-12}" -ge 13 ]; then echo cuda13; else echo cuda12; fi
  elif compgen -G '/dev/accel[0-9]*' >/dev/null || [ -n "${TPU_NAME:-}" ]; then
    echo tpu
  fi
}

flags() { # the flags given, those of --flagfile=FILE too, between blanks
  local word
  for word; do
    echo " $word"
    [[ "$word" != --flagfile=* ]] || sed -n '/^ *-/p' "${word#*=}" 2>/dev/null || true
  done | tr '\n' ' '
}

# A path file, not an import hook: else a folder named rnnlab beside a script, such as a clone, hides the package.
editable=(--config-settings editable_mode=compat --editable)

install() { # of the extras named, what the environment lacks
  local extras stamp python
  extras=$(echo "$(accelerator) $*" | xargs | tr ' ' ,)
  stamp="$venv/.installed-$extras"
  if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(cksum <"$root/pyproject.toml")" ]; then return; fi
  echo "setting up $venv${extras:+ with $extras} (once; a few minutes)" >&2
  if command -v uv >/dev/null; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "${PYTHON:->=3.11}" "$venv"
    uv pip install --quiet --python "$venv/bin/python" "${editable[@]}" "$root${extras:+[$extras]}"
  else
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
      python=$(interpreter) || fail "rnnlab needs Python 3.11 or newer; ${PYTHON:-python3} is not: install one, or name it as PYTHON=..."
      "$python" -m venv --clear "$venv" || fail "$python could not make an environment in $venv (on Debian: apt install python3-venv)"
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${editable[@]}" "$root${extras:+[$extras]}"
  fi
  cksum <"$root/pyproject.toml" >"$stamp"
}

what=${1:-}
[ $# -eq 0 ] || shift
case "$what" in
  '' | -h | --help | help)
    list
    ;;
  test)
    install test
    cd "$root"
    exec "$venv/bin/python" -m pytest "$@"
    ;;
  *)
    grep -q '^if __name__' "$root/experiments/$what.py" 2>/dev/null || fail "there is no experiment '$what'; ./launch.sh lists what there is"
    if [[ ("$what" = conformance && ! " $* " =~ --cell[=\ ][^\ ,]*:) || ("$what" = bench && ! " $* " =~ --what=(length|start)) ]]; then
      install peers
    else
      extras=()
      given=$(flags "$@")
      [[ ! "$given" =~ \ --search[=\ ] ]] || extras+=(search)
      [[ ! ("$what" =~ ^(report|compare)$ && "$given" =~ \ --html[=\ ]) ]] || extras+=(html)
      [[ ! "$given" =~ \ --cluster[=\ ] ]] || extras+=(cluster)
      [[ ! "$given" =~ \ --(log|to)[=\ ](tensorboard|wandb)\  ]] || extras+=("${BASH_REMATCH[2]}")
      install ${extras[@]+"${extras[@]}"}
    fi
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$venv/bin/python" -m "experiments.$what" "$@"
    ;;
esac
