# Fails when two files define a class of one name in a namespace that the linker sees: it would keep either one's functions
# for both (the one-definition rule). Classes of one file alone belong in an unnamed namespace.
#   awk -f one_definition.awk FILE…
FNR == 1 { unnamed = 0 }
/^namespace \{/ { unnamed = 1 }
/^\} \/\/ namespace$/ { unnamed = 0 }
!unnamed && /^(template <.*> )?(class|struct|union|enum class) [A-Za-z_:]+[^;(]*\{/ {
    line = $0
    sub(/^template <.*> (class|struct|union) /, "", line)
    sub(/^(class|struct|union|enum class) /, "", line)
    match(line, /^[A-Za-z_:0-9]+/)
    name = substr(line, 1, RLENGTH)
    count += 1
    if (name in place) {
        printf "%s:%d: '%s' is defined in %s as well\n", FILENAME, FNR, name, place[name]
        failed = 1
    } else place[name] = FILENAME ":" FNR
}
END {
    if (count == 0) print "no class was found: has the style of the sources changed?"
    exit failed || count == 0
}
