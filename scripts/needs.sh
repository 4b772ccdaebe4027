# What ./test and ./quickstart need of a Debian machine. Sourced, not run: the caller says what
# it needs, and `install_missing` installs it as root or names it and ends the caller.
# shellcheck shell=sh

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=

need() { # command or file, package that ships it
    command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || miss "$2"
}

miss() { # package
    case " $missing " in
    *" $1 "*) ;;
    *) missing="$missing $1" ;;
    esac
}

need_to_build() { # what `pip install .` compiles and links with
    need gcc gcc
    need /usr/include/stdio.h libc6-dev
    need /usr/include/seccomp.h libseccomp-dev
    need /usr/include/nftables/libnftables.h libnftables-dev
    if command -v python3 >/dev/null 2>&1; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || miss python3-venv
        header=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
        [ -e "$header" ] || miss python3-dev
    else
        miss python3-venv
        miss python3-dev
    fi
}

need_static_busybox() { # Debian's busybox and busybox-static both put it there
    if [ ! -e /usr/bin/busybox ] && [ ! -e /bin/busybox ]; then
        miss busybox-static
    elif ldd "$(command -v busybox)" >/dev/null 2>&1; then
        miss busybox-static
    fi
}

install_missing() { # name of the caller, for what it says
    if [ -z "$missing" ]; then
        return
    fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "missing, and only root on a Debian machine can have $1 install it:$missing" >&2
        exit 1
    fi
    echo "installing:$missing"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # one word for each package
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing
    } </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}

need_python_version() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "aiod needs Python 3.11 or later; python3 is $(python3 -V)" >&2
        exit 1
    }
}
