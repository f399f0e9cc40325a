// Package identity is who people are: organisations, users, which of them are members of what, and how one becomes one.
//
// A user's name and an org's id stand in the rows of all services, so neither ever changes or is given again: users are
// disabled and orgs are closed, none is deleted. An identity at a provider is (issuer, subject), never a name or a mail
// address, which a provider may give to somebody else.
//
// A member has one built-in role and any number of groups, free names that approvals ask for. Somebody can always mend
// things: the last platform-admin and the last org-admin of an org keep their roles (LAST_PLATFORM_ADMIN, LAST_ORG_ADMIN).
//
// How somebody proves to be a user is package login's.
package identity
