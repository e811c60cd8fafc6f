"""Fleets and manifests to try brim with. They are packaged, so that `brim up` and `brim demo` work anywhere."""
