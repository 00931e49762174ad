# More registries: what the groups v2 and v1 hold of docker-registry 2.8 and olareg, for those that only this group starts.
# shellcheck shell=bash

cases_registries() {
    local server
    build_registries
    start_more_registries
    reference_exists debian-v2 debian debian
    v1_reference_exists debian
    for server in distribution crane; do
        push_image "$server" debian
        cases_v2_of "$server" debian
        push_image "$server" debian v1-debian
        cases_v1_of "$server" debian
    done
}
