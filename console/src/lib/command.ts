// What a person types to get a new login link.
export const kLoginCommand = 'naru open';
