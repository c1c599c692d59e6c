# escape=`
# a comment ends the directives
# syntax=this/is:nothing
FROM scratch
COPY a `
     b c:\dir\
HEALTHCHECK NONE
RUN [ -f x ] && echo [ok]
CMD ['single', 'quotes']
