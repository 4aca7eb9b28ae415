//! System-call sets as data, compiled to BPF.
