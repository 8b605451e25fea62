// Package vgitest is for testing transports and what is built on them: a small
// contract with a server behind it, a harness that every transport must pass
// ([TestTransport]), and a driver that stores and resumes each stream between
// all of its turns ([ServeResuming]).
package vgitest
